/** @file Deterministic PNG writing, and the text chunks in which generators keep prompts and settings. */

import { promisify } from "node:util";
import { deflate, inflateSync } from "node:zlib";
import { UsageError } from "../errors.js";
import { toRgb } from "./convert.js";
import type { PngChunk } from "./png-chunks.js";
import { readChunks, writeChunks } from "./png-chunks.js";
import { decodePng, paeth } from "./png-decode.js";
import type { RgbImage } from "./types.js";
import { checkSize } from "./types.js";

const deflateAsync = promisify(deflate);

/** Texts of one file that have more bytes than this, together and unpacked, are left out. */
const MAX_TEXT_BYTES = 16 * 2 ** 20;

/** A text of a PNG file. */
export interface PngText {
  /** 1 to 79 Latin-1 characters, for example `parameters` (AUTOMATIC1111's settings) or `laurel`. */
  readonly keyword: string;
  readonly value: string;
  /** True for an iTXt chunk, which holds UTF-8. When writing, false or absent means: tEXt if the text can be held there. */
  readonly international?: boolean;
}

/** Pixels as `encodePng` packed them, of pictures that came out of such a file. */
const packed = new WeakMap<RgbImage, Uint8Array>();

/**
 * The picture in a file that {@link encodePng} made. Its pixels are unpacked when they are first read; encoding it again, with other texts, takes them as they
 * are packed. Undefined for PNG files that others made.
 * @throws UsageError for bytes that are no PNG; `data` throws it when the packed pixels are damaged
 */
export function packedPicture(png: Uint8Array, where = "PNG"): RgbImage | undefined {
  const [header, ...chunks] = readChunks(png, where);
  const pixels = chunks.filter(({ type }) => type === "IDAT");
  // 8 bits, RGB, not interlaced
  const own = header?.data[8] === 8 && header.data[9] === 2 && header.data[12] === 0;
  if (!own || pixels.length !== 1) return undefined;
  const view = new DataView(header.data.buffer, header.data.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  checkSize(where, width, height);
  let data: Uint8Array | undefined;
  const image: RgbImage = {
    width,
    height,
    get data() {
      return (data ??= toRgb(decodePng(png, where)).data);
    },
  };
  packed.set(image, pixels[0]!.data);
  return image;
}

/**
 * Encodes an RGB image as PNG. Equal pixels and texts give equal bytes: nothing volatile is written.
 *
 * @param text Written before the image data, in this order.
 * @throws UsageError for a keyword that PNG does not allow.
 */
export async function encodePng(image: RgbImage, text: readonly PngText[] = []): Promise<Uint8Array> {
  const { width, height } = image;
  checkSize("encodePng", width, height);
  const known = packed.get(image);
  if (known === undefined && image.data.length !== width * height * 3) {
    throw new UsageError(`encodePng: expected ${width * height * 3} bytes of RGB, got ${image.data.length}`);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return writeChunks([
    { type: "IHDR", data: header },
    ...text.map(textChunk),
    { type: "IDAT", data: known ?? (await deflateAsync(filterRows(image), { level: 6 })) },
    { type: "IEND", data: new Uint8Array(0) },
  ]);
}

/** Rows with the filter that leaves the smallest sum of absolute values, the PNG specification's own heuristic. */
function filterRows({ width, height, data }: RgbImage): Uint8Array {
  const length = width * 3;
  const out = new Uint8Array(height * (length + 1));
  let above: Uint8Array = new Uint8Array(length);
  const trial = new Uint8Array(length);
  for (let y = 0; y < height; y++) {
    const line = data.subarray(y * length, (y + 1) * length);
    let best = Infinity;
    // Up first: in enlarged pictures most rows repeat the one above, and then the others stop at once
    for (const filter of [2, 0, 1, 3, 4]) {
      const cost = filterRow(filter, line, above, trial, best);
      if (cost >= best) continue;
      best = cost;
      out[y * (length + 1)] = filter;
      out.set(trial, y * (length + 1) + 1);
    }
    above = line;
  }
  return out;
}

/** Writes the filtered row to `out` and returns its cost; stops as soon as that reaches `limit`. */
function filterRow(filter: number, line: Uint8Array, above: Uint8Array, out: Uint8Array, limit: number): number {
  let cost = 0;
  for (let i = 0; i < line.length && cost < limit; i++) {
    const left = i >= 3 ? (line[i - 3] as number) : 0;
    const up = above[i] as number;
    let guess = 0;
    if (filter === 1) guess = left;
    else if (filter === 2) guess = up;
    else if (filter === 3) guess = (left + up) >> 1;
    else if (filter === 4) guess = paeth(left, up, i >= 3 ? (above[i - 3] as number) : 0);
    const value = ((line[i] as number) - guess) & 255;
    out[i] = value;
    cost += value < 128 ? value : 256 - value;
  }
  return cost;
}

/** The chunk that holds a text: tEXt where that can, else iTXt. @throws UsageError for a keyword that PNG does not allow */
export function textChunk({ keyword, value, international }: PngText): PngChunk {
  if (!/^[\x21-\x7e\xa1-\xff](?:[\x20-\x7e\xa1-\xff]{0,77}[\x21-\x7e\xa1-\xff])?$/.test(keyword)) {
    throw new UsageError(
      `PNG text: expected a keyword of 1 to 79 printable characters, got ${JSON.stringify(keyword)}`,
    );
  }
  const key = Buffer.from(`${keyword}\0`, "latin1");
  if (international !== true && fitsLatin1(value)) {
    return { type: "tEXt", data: Buffer.concat([key, Buffer.from(value, "latin1")]) };
  }
  // Compression flag and method, language tag and translated keyword: none of them used.
  return { type: "iTXt", data: Buffer.concat([key, Buffer.alloc(4), Buffer.from(value, "utf8")]) };
}

/** Latin-1 without NUL, and not to be taken for the raw UTF-8 that some programs put into tEXt. */
function fitsLatin1(value: string): boolean {
  if (!/^[\x01-\xff]*$/.test(value)) return false;
  return /^[\x01-\x7f]*$/.test(value) || utf8(Buffer.from(value, "latin1")) === undefined;
}

function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * The texts of a PNG file (tEXt, zTXt and iTXt), in file order. A damaged text is left out: the image does not depend on it.
 *
 * @throws UsageError when `bytes` is not a PNG file.
 */
export function readPngText(bytes: Uint8Array, where = "PNG"): PngText[] {
  const texts: PngText[] = [];
  const budget = { left: MAX_TEXT_BYTES };
  for (const { type, data } of readChunks(bytes, where)) {
    if (type !== "tEXt" && type !== "zTXt" && type !== "iTXt") continue;
    const end = data.indexOf(0);
    if (end < 1) continue;
    const keyword = Buffer.from(data.subarray(0, end)).toString("latin1");
    const value = textValue(type, data.subarray(end + 1), budget);
    if (value !== undefined) texts.push({ keyword, value, international: type === "iTXt" });
  }
  return texts;
}

function textValue(type: "tEXt" | "zTXt" | "iTXt", data: Uint8Array, budget: Budget): string | undefined {
  if (type === "tEXt") return take(data, budget) && latin1OrUtf8(data);
  if (type === "zTXt") {
    const plain = unpack(data.subarray(1), budget);
    return plain === undefined ? undefined : latin1OrUtf8(plain);
  }
  const languageEnd = data.indexOf(0, 2);
  const translatedEnd = languageEnd < 0 ? -1 : data.indexOf(0, languageEnd + 1);
  if (translatedEnd < 0) return undefined;
  const content = data.subarray(translatedEnd + 1);
  const plain = data[0] === 1 ? unpack(content, budget) : take(content, budget);
  return plain === undefined ? undefined : utf8(plain);
}

/** The standard says Latin-1; stable-diffusion.cpp writes UTF-8. */
function latin1OrUtf8(bytes: Uint8Array): string {
  return utf8(bytes) ?? Buffer.from(bytes).toString("latin1");
}

/** Bytes that the texts of one file may still unpack to. */
interface Budget {
  left: number;
}

/** The bytes themselves, while the budget has room for them. */
function take(bytes: Uint8Array, budget: Budget): Uint8Array | undefined {
  if (bytes.length > budget.left) return undefined;
  budget.left -= bytes.length;
  return bytes;
}

function unpack(bytes: Uint8Array, budget: Budget): Uint8Array | undefined {
  if (budget.left <= 0) return undefined;
  try {
    const plain = inflateSync(bytes, { maxOutputLength: budget.left });
    budget.left -= plain.length;
    return plain;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") budget.left = 0;
    return undefined;
  }
}
