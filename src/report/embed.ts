/** @file Pictures embedded in a page. */

import { readFile } from "node:fs/promises";

/** Pixels across of a thumbnail. */
const THUMBNAIL_WIDTH = 384;

/** A picture as the page embeds it. */
export interface EmbeddedImage {
  /** A `data:` URI. */
  readonly uri: string;
  /** Pixels of the candidate itself. */
  readonly width: number;
  readonly height: number;
}

/** Embeds a PNG file of the given size; as a thumbnail, where that is wanted and it is wider. */
export async function embed(
  path: string,
  { width, height }: { readonly width: number; readonly height: number },
  thumbnail: boolean,
): Promise<EmbeddedImage> {
  const png = await readFile(path);
  if (!thumbnail || width <= THUMBNAIL_WIDTH) return { uri: dataUri("image/png", png), width, height };
  const { default: sharp } = await import("sharp");
  const small = await sharp(png).resize({ width: THUMBNAIL_WIDTH }).webp({ quality: 85 }).toBuffer();
  return { uri: dataUri("image/webp", small), width, height };
}

function dataUri(type: string, bytes: Buffer): string {
  return `data:${type};base64,${bytes.toString("base64")}`;
}
