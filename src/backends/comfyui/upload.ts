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
/** Files that are remembered. */
const MOST_KNOWN = 256;
const uploadedSchema = z.object({ name: z.string().min(1), subfolder: z.string().default("") });

/** What has been uploaded to a server. */
export class Uploads {
  readonly #server: HttpServer;
  /** Names on the server by names here, the oldest first. */
  readonly #known = new Map<string, string>();

  constructor(server: HttpServer) {
    this.#server = server;
  }

  /** Uploads what a request starts from, unless it is there. Files are named by their content. @throws HttpError */
  async inputsOf(
    { init, mask, width, height }: ImageRequest,
    signal: AbortSignal | undefined,
  ): Promise<UploadedInputs> {
    const size = { width: width ?? init?.width ?? 0, height: height ?? init?.height ?? 0 };
    const send = async (image: RgbImage | undefined): Promise<string | undefined> =>
      image === undefined ? undefined : this.#send(await encodePng(image), signal);
    return {
      image: await send(init === undefined ? undefined : resizeLanczos(init, size.width, size.height)),
      mask: await send(mask === undefined ? undefined : blackAndWhite(mask, size)),
    };
  }

  /** After a failure: somebody may have emptied the server's folder. */
  forget(): void {
    this.#known.clear();
  }

  async #send(png: Uint8Array, signal: AbortSignal | undefined): Promise<string> {
    const name = `laurel-${sha256(png).slice(0, 32)}.png`;
    const kept = this.#known.get(name) ?? (await upload(this.#server, name, png, signal));
    this.#known.delete(name);
    this.#known.set(name, kept);
    if (this.#known.size > MOST_KNOWN) this.#known.delete(this.#known.keys().next().value!);
    return kept;
  }
}

/** White where the picture is repainted. */
function blackAndWhite(mask: RgbImage, { width, height }: { width: number; height: number }): RgbImage {
  const set = toMask(mask, width, height);
  return { width, height, data: Uint8Array.from({ length: 3 * set.length }, (_, i) => 255 * set[Math.floor(i / 3)]!) };
}

async function upload(
  server: HttpServer,
  name: string,
  png: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<string> {
  const form = new FormData();
  form.append("image", new Blob([png as Uint8Array<ArrayBuffer>], { type: "image/png" }), name);
  form.append("type", "input");
  // never over a file that is there: another prompt may be reading it
  form.append("subfolder", FOLDER);
  const reply = await server.json("upload/image", { form, signal });
  // the server may choose another name
  const kept = parseAnswer(server, "upload/image", uploadedSchema, reply);
  return kept.subfolder === "" ? kept.name : `${kept.subfolder}/${kept.name}`;
}
