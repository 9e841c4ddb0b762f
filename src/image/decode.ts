/** @file Image files to pixels, in the mode that Pillow opens them in; EXIF orientation and colour profiles are ignored, as in the reference. */

import type { Metadata, Sharp } from "sharp";
import { UsageError } from "../errors.js";
import { toRgb } from "./convert.js";
import { avifTransform, undoTransform } from "./avif-orientation.js";
import { orientationWarning, orientationWarnings, tiffTag, TIFF_TAGS } from "./exif.js";
import { decodeGif, isGif } from "./gif-decode.js";
import { isPng } from "./png-chunks.js";
import { decodePng } from "./png-decode.js";
import { describeBytes, HEAD_BYTES, recogniseForeign } from "../util/foreign.js";
import { readBytes } from "../util/read-file.js";
import type { ChannelImage, RgbImage, SourceImage } from "./types.js";
import { CHANNELS, MAX_PIXELS, checkSize } from "./types.js";

/** Larger files are no pictures of at most MAX_PIXELS pixels. */
const MAX_FILE_BYTES = 512 << 20;

/** Formats read through sharp. Vector and document formats, which it could render too, are no pictures to score. */
const FORMATS: readonly string[] = ["jpeg", "webp", "tiff", "heif"];

/** The photometric interpretations of TIFF files that are read as Pillow reads them: both greys, RGB, palette, CMYK. */
const TIFF_COLOURS: readonly (number | undefined)[] = [0, 1, 2, 3, 5];
const TIFF_PALETTE = 3;
const TIFF_YCBCR = 6;
const TIFF_JPEG = 7;

/**
 * Decodes a PNG, JPEG, WebP, GIF, TIFF or AVIF file; of an animation, the first frame.
 *
 * @param where Names the image in errors and warnings, for example its path.
 * @param mostPixels refuses larger ones before anything of their size is allocated; at most {@link MAX_PIXELS}
 * @throws UsageError when the bytes are no such file, damaged, truncated, or claim more than `mostPixels`.
 */
export async function decodeImage(
  bytes: Uint8Array,
  where: string,
  mostPixels: number = MAX_PIXELS,
): Promise<SourceImage> {
  if (isPng(bytes)) return decodePng(bytes, where, mostPixels);
  if (isGif(bytes)) return decodeGif(bytes, where, mostPixels);
  const head = Buffer.from(bytes.subarray(0, HEAD_BYTES));
  // Nothing but the supported formats reaches sharp, which could open far more.
  if (head.subarray(0, 4).toString("latin1") === "\x89PNG")
    throw unreadable(where, "a PNG file whose first bytes are damaged (copied as text?)");
  if (!isPicture(head)) throw unreadable(where, recogniseForeign(head) ?? describeBytes(head));
  const { default: sharp } = await import("sharp");
  const pipeline = sharp(asStill(bytes), { failOn: "error", ignoreIcc: true, limitInputPixels: MAX_PIXELS });
  const metadata = await guard(where, () => pipeline.metadata());
  const { format, width, height } = metadata;
  if (!FORMATS.includes(format)) throw unreadable(where, format);
  checkSize(where, width, height, mostPixels);
  const colours = format === "tiff" ? tiffColours(bytes, where) : undefined;
  const raw = await guard(where, () => decodeRaw(pipeline, metadata, where));
  if (format === "heif") return asStored(raw, bytes, where);
  return colours === TIFF_PALETTE ? indexColours(raw) : raw;
}

/** As {@link decodeImage}, from a file. @throws UsageError also when it cannot be read, is no regular file or is too large. */
export async function decodeImageFile(path: string): Promise<SourceImage> {
  const bytes = await readBytes(path, { expected: "an image file", limit: MAX_FILE_BYTES, as: UsageError });
  return decodeImage(bytes, path);
}

/** JPEG, WebP, TIFF, AVIF by their first bytes. */
function isPicture(head: Buffer): boolean {
  const text = head.subarray(0, 12).toString("latin1");
  return /^(\xff\xd8\xff|RIFF....WEBP|II\*\0|MM\0\*|....ftyp)/s.test(text);
}

/** Decodes a file to RGB, as {@link decodeImage} and {@link toRgb}. */
export async function decodeRgb(bytes: Uint8Array, where: string): Promise<RgbImage> {
  return toRgb(await decodeImage(bytes, where));
}

function unreadable(where: string, actual: string, cause?: unknown): UsageError {
  return new UsageError(`${where}: expected a PNG, JPEG, WebP, GIF, TIFF or AVIF image, got ${actual}`, { cause });
}

async function guard<T>(where: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const reason = error instanceof Error ? error.message.split("\n")[0] : undefined;
    throw unreadable(where, reason ?? String(error), error);
  }
}

/** An animated AVIF holds a still picture too, its first frame, which libheif opens only in a file of that brand. */
function asStill(bytes: Uint8Array): Uint8Array {
  const brand = Buffer.from(bytes.subarray(4, 12)).toString("latin1");
  if (brand !== "ftypavis") return bytes;
  const still = bytes.slice();
  still.set(Buffer.from("avif"), 8);
  return still;
}

/** An AVIF picture without the rotation and mirroring that libheif has applied. */
function asStored(image: ChannelImage, bytes: Uint8Array, where: string): ChannelImage {
  const transform = avifTransform(bytes);
  const { turns, mirror } = transform;
  const warnings = [
    ...image.warnings,
    `${where}: AVIF colours are computed otherwise than in the reference: pixels may differ by a few of 255 levels, at colour edges by more`,
  ];
  if (turns !== 0 || mirror !== undefined) warnings.push(orientationWarning(where, "rotation or mirroring"));
  return { ...image, ...undoTransform(image, CHANNELS[image.mode], transform), warnings };
}

async function decodeRaw(pipeline: Sharp, metadata: Metadata, where: string): Promise<ChannelImage> {
  const { space, format, depth } = metadata;
  const isGrey = space === "b-w" || space === "grey16";
  // Without these sharp would turn CMYK into RGB through a colour profile, and grey into RGB; the latter drops alpha.
  if (space === "cmyk") pipeline.pipelineColourspace("cmyk").toColourspace("cmyk");
  else if (isGrey && metadata.channels === 1) pipeline.toColourspace("b-w");
  // Of TIFF alone the reference follows the orientation.
  if (format === "tiff") pipeline.autoOrient();
  const { data: pixels, info } = await pipeline.raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const data = new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  const warnings = format === "tiff" ? [] : orientationWarnings(where, metadata.orientation);
  if (depth !== "uchar" && format !== "heif") warnings.push(`${where}: its ${depth} pixels are reduced to 8 bits`);
  const facts = { width, height, format: format === "heif" ? "avif" : format, warnings };
  switch (channels) {
    case 1:
      return { ...facts, mode: metadata.bitsPerSample === 1 ? "1" : "L", data };
    case 2:
      return { ...facts, mode: "LA", data };
    case 3:
      return { ...facts, mode: "RGB", data };
    case 4:
      if (isGrey) return { ...facts, mode: "LA", data: data.filter((_, i) => i % 4 === 0 || i % 4 === 3) };
      return { ...facts, mode: space === "cmyk" ? "CMYK" : "RGBA", data };
  }
}

/** @throws UsageError when a TIFF file's colours are of a kind that sharp and Pillow take differently: Lab, raw, YCbCr outside JPEG */
function tiffColours(bytes: Uint8Array, where: string): number | undefined {
  const colours = tiffTag(bytes, TIFF_TAGS.photometric);
  const isJpeg = colours === TIFF_YCBCR && tiffTag(bytes, TIFF_TAGS.compression) === TIFF_JPEG;
  if (isJpeg || TIFF_COLOURS.includes(colours)) return colours;
  const expected = "expected a TIFF file in grey, RGB, CMYK or with a palette";
  throw new UsageError(`${where}: ${expected}, got photometric interpretation ${colours ?? "none"}`);
}

/** Gives a TIFF picture its palette back, which sharp has expanded: it decides how Pillow resizes it. */
function indexColours(image: ChannelImage): SourceImage {
  const channels = CHANNELS[image.mode];
  const { width, height, format, warnings } = image;
  const known = new Map<number, number>();
  const palette: number[] = [];
  const data = new Uint8Array(image.data.length / channels);
  for (let i = 0; i < data.length; i++) {
    const [red = 0, green = red, blue = red] = image.data.subarray(i * channels, i * channels + Math.min(channels, 3));
    const colour = (red << 16) | (green << 8) | blue;
    const index = known.get(colour) ?? known.size;
    if (index === known.size) {
      known.set(colour, index);
      palette.push(red, green, blue);
    }
    data[i] = index;
  }
  // No palette of 8 bits is this large: whatever it is, it is taken as it was decoded.
  return known.size > 256
    ? image
    : { width, height, format, warnings, mode: "P", data, palette: Uint8Array.from(palette) };
}

/** Versions of sharp and of libvips inside it. @throws Error when it cannot be loaded on this platform */
export async function codecVersions(): Promise<{ readonly sharp: string; readonly vips: string }> {
  const { default: sharp } = await import("sharp");
  const { sharp: version = "unknown", vips } = sharp.versions;
  return { sharp: version, vips };
}
