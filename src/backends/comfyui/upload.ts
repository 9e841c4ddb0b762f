/** @file The picture to start from and the mask, brought to a ComfyUI server at the size they are drawn at. */

import { FormData } from "undici";
import { z } from "zod";
import { encodePng } from "../../image/png.js";
import { resizeLanczos } from "../../image/resize.js";
import type { RgbImage } from "../../image/types.js";
import { toMask } from "../../diffusion/pixels.js";
import { sha256 } from "../../util/files.js";
import type { ImageRequest } from "../contract.js";
import type { HttpServer } from "../http/client.js";
import { parseAnswer } from "./server-info.js";

/** Names of files on the server; undefined for what the request does not have. */
export interface UploadedInputs {
  readonly image: string | undefined;
  readonly mask: string | undefined;
}

const FOLDER = "laurel";
const uploadedSchema = z.object({ name: z.string().min(1), subfolder: z.string().default("") });

/** Uploads what a request starts from. Files are named by their content: the same one is there once. @throws HttpError */
export async function uploadInputs(
  server: HttpServer,
  { init, mask, width, height }: ImageRequest,
  signal: AbortSignal | undefined,
): Promise<UploadedInputs> {
  const size = { width: width ?? init?.width ?? 0, height: height ?? init?.height ?? 0 };
  const send = async (image: RgbImage | undefined): Promise<string | undefined> =>
    image === undefined ? undefined : upload(server, await encodePng(image), signal);
  return {
    image: await send(init === undefined ? undefined : resizeLanczos(init, size.width, size.height)),
    mask: await send(mask === undefined ? undefined : blackAndWhite(mask, size)),
  };
}

/** White where the picture is repainted. */
function blackAndWhite(mask: RgbImage, { width, height }: { width: number; height: number }): RgbImage {
  const set = toMask(mask, width, height);
  return { width, height, data: Uint8Array.from({ length: 3 * set.length }, (_, i) => 255 * set[Math.floor(i / 3)]!) };
}

async function upload(server: HttpServer, png: Uint8Array, signal: AbortSignal | undefined): Promise<string> {
  const form = new FormData();
  const name = `laurel-${sha256(png).slice(0, 32)}.png`;
  form.append("image", new Blob([png as Uint8Array<ArrayBuffer>], { type: "image/png" }), name);
  form.append("type", "input");
  form.append("subfolder", FOLDER);
  form.append("overwrite", "true");
  const reply = await server.json("upload/image", { form, signal });
  // the server may choose another name
  const kept = parseAnswer(server, "upload/image", uploadedSchema, reply);
  return kept.subfolder === "" ? kept.name : `${kept.subfolder}/${kept.name}`;
}
