/** @file Pictures as servers send them: base64 or bytes of whatever format, which is told by the bytes and never by the label. */

import { LaurelError } from "../errors.js";
import { decodeRgb } from "../image/decode.js";
import type { RgbImage } from "../image/types.js";
import { HttpError } from "./http/error.js";

/** Bytes of raw base64 or of a `data:` address. @throws HttpError when it is neither */
export function bytesOfBase64(text: string, where: string): Uint8Array {
  const data = /^data:[^,]*;base64,/.exec(text);
  const raw = data === null ? text : text.slice(data[0].length);
  if (raw === "" || !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(raw)) {
    const actual = raw === "" ? "an empty text" : JSON.stringify(raw.slice(0, 40));
    throw new HttpError(`${where}: expected a picture in base64, got ${actual}`, { fault: "bad-response" });
  }
  return Buffer.from(raw, "base64");
}

/** Decodes a picture from a server. @throws HttpError when the bytes are none */
export async function decodeReceived(bytes: Uint8Array, where: string): Promise<RgbImage> {
  try {
    return await decodeRgb(bytes, where);
  } catch (error) {
    if (!(error instanceof LaurelError)) throw error;
    throw new HttpError(error.message, { fault: "bad-response" }, { cause: error });
  }
}

/** The warning for a picture of another size than asked for; none when it is as asked. */
export function sizeWarning(
  name: string,
  asked: { readonly width: number | undefined; readonly height: number | undefined },
  { width, height }: RgbImage,
): string[] {
  if (width === (asked.width ?? width) && height === (asked.height ?? height)) return [];
  return [
    `${name}: expected a picture of ${asked.width ?? width} x ${asked.height ?? height}, got ${width} x ${height}`,
  ];
}
