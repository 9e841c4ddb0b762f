/** @file PNG to the mode Pillow opens it in. Image libraries expand palettes and 1-bit pixels, and resizing depends on those. */

import { constants, inflateSync } from "node:zlib";
import { UsageError } from "../errors.js";
import { orientationWarnings, tiffTag, TIFF_TAGS } from "./exif.js";
import { readChunks } from "./png-chunks.js";
import type { SourceImage } from "./types.js";
import { checkSize } from "./types.js";

interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colour: number;
  readonly interlaced: boolean;
}

/** Samples a pixel, by PNG colour type: grey, RGB, palette, grey + alpha, RGBA. */
const SAMPLES: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
const DEPTHS: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
};
/** As many as the largest image of 8-bit RGBA takes: 16 bits a channel allow fewer pixels. */
const MAX_RAW_BYTES = 410_000_000;
/** Adam7 passes: first column, first row, column step, row step. */
const ADAM7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

/** Decodes a PNG file. @throws UsageError naming `where` when it is damaged, truncated or too large. */
export function decodePng(bytes: Uint8Array, where: string, mostPixels?: number): SourceImage {
  let header: Header | undefined;
  let palette: Uint8Array | undefined;
  let orientation: number | undefined;
  const parts: Uint8Array[] = [];
  for (const { type, data } of readChunks(bytes, where)) {
    if (type === "IHDR") {
      if (header !== undefined) throw new UsageError(`${where}: expected one header in a PNG file, got two`);
      header = readHeader(data, where, mostPixels);
    } else if (type === "PLTE") palette = data.slice();
    else if (type === "IDAT") parts.push(data);
    else if (type === "eXIf") orientation = tiffTag(data, TIFF_TAGS.orientation);
  }
  if (header === undefined || parts.length === 0) {
    throw new UsageError(`${where}: expected a PNG file with an image, got one without ${header ? "IDAT" : "IHDR"}`);
  }
  const samples = readSamples(header, inflate(header, Buffer.concat(parts), where), where);
  const source = toSource(header, samples, palette, where);
  return { ...source, warnings: [...source.warnings, ...orientationWarnings(where, orientation)] };
}

function readHeader(data: Uint8Array, where: string, mostPixels: number | undefined): Header {
  if (data.length !== 13) throw new UsageError(`${where}: expected 13 bytes of PNG header, got ${data.length}`);
  const view = new DataView(data.buffer, data.byteOffset, 13);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour, interlace] = [view.getUint8(8), view.getUint8(9), view.getUint8(12)];
  if (DEPTHS[colour]?.includes(depth) !== true || interlace > 1 || view.getUint16(10) !== 0) {
    const methods = `compression ${view.getUint8(10)}, filter ${view.getUint8(11)}, interlace ${interlace}`;
    throw new UsageError(`${where}: expected a standard PNG, got colour type ${colour} with ${depth} bits, ${methods}`);
  }
  checkSize(where, width, height, mostPixels);
  return { width, height, depth, colour, interlaced: interlace === 1 };
}

interface Pass {
  readonly width: number;
  readonly height: number;
  readonly column: number;
  readonly row: number;
  readonly columnStep: number;
  readonly rowStep: number;
}

function passes({ width, height, interlaced }: Header): Pass[] {
  if (!interlaced) return [{ width, height, column: 0, row: 0, columnStep: 1, rowStep: 1 }];
  return ADAM7.map(([column, row, columnStep, rowStep]) => ({
    width: Math.ceil((width - column) / columnStep),
    height: Math.ceil((height - row) / rowStep),
    ...{ column, row, columnStep, rowStep },
  })).filter((pass) => pass.width > 0 && pass.height > 0);
}

function lineBytes(header: Header, width: number): number {
  return Math.ceil((width * header.depth * (SAMPLES[header.colour] as number)) / 8);
}

function inflate(header: Header, data: Uint8Array, where: string): Uint8Array {
  const expected = passes(header).reduce((sum, pass) => sum + pass.height * (1 + lineBytes(header, pass.width)), 0);
  // Deflate makes nothing smaller than a 1032nd: what cannot be there is not unpacked to find out.
  if (expected > data.length * 1032 + 65536) throw truncated(where, expected, `at most ${data.length * 1032}`);
  if (expected > MAX_RAW_BYTES) {
    throw new UsageError(`${where}: expected at most ${MAX_RAW_BYTES} bytes of PNG rows, got ${expected}`);
  }
  let raw: Uint8Array;
  try {
    // A missing checksum at the end does not matter once all rows are there; excess data must not grow without bound.
    raw = inflateSync(data, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: expected + 65536 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`${where}: expected sound PNG data, got a decompression error: ${reason}`, { cause });
  }
  if (raw.length >= expected) return raw;
  throw truncated(where, expected, raw.length);
}

function truncated(where: string, expected: number, actual: number | string): UsageError {
  return new UsageError(`${where}: expected ${expected} bytes of PNG rows, got ${actual} (truncated file)`);
}

/** One number a sample, [height, width, samples]. */
function readSamples(header: Header, raw: Uint8Array, where: string): Uint8Array | Uint16Array {
  const { depth, width } = header;
  const count = SAMPLES[header.colour] as number;
  const total = width * header.height * count;
  const out = depth === 16 ? new Uint16Array(total) : new Uint8Array(total);
  const pixelBytes = Math.max(1, (depth * count) / 8);
  let offset = 0;
  for (const pass of passes(header)) {
    const length = lineBytes(header, pass.width);
    let previous: Uint8Array = new Uint8Array(length);
    for (let y = 0; y < pass.height; y++) {
      const filter = raw[offset] as number;
      const line = raw.subarray(offset + 1, offset + 1 + length);
      offset += 1 + length;
      if (filter > 4) throw new UsageError(`${where}: expected a PNG row filter from 0 to 4, got ${filter}`);
      unfilter(filter, line, previous, pixelBytes);
      const to = ((pass.row + y * pass.rowStep) * width + pass.column) * count;
      if (depth === 8 && pass.columnStep === 1) out.set(line, to);
      else unpack(line, depth, count, pass, out, to);
      previous = line;
    }
  }
  return out;
}

/** Undoes a row's filter in place (PNG specification, section 9). */
function unfilter(filter: number, line: Uint8Array, above: Uint8Array, pixelBytes: number): void {
  if (filter === 0) return;
  for (let i = 0; i < line.length; i++) {
    const left = i >= pixelBytes ? (line[i - pixelBytes] as number) : 0;
    const up = above[i] as number;
    const corner = i >= pixelBytes ? (above[i - pixelBytes] as number) : 0;
    let guess: number;
    if (filter === 1) guess = left;
    else if (filter === 2) guess = up;
    else if (filter === 3) guess = (left + up) >> 1;
    else guess = paeth(left, up, corner);
    line[i] = (line[i] as number) + guess;
  }
}

/** The neighbour nearest to left + up - corner. */
export function paeth(left: number, up: number, corner: number): number {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

function unpack(
  line: Uint8Array,
  depth: number,
  count: number,
  pass: Pass,
  out: Uint8Array | Uint16Array,
  to: number,
): void {
  const mask = (1 << depth) - 1;
  for (let x = 0; x < pass.width; x++) {
    for (let c = 0; c < count; c++) {
      const sample = x * count + c;
      const bit = sample * depth;
      const byte = line[bit >> 3] as number;
      const value =
        depth === 16 ? (byte << 8) | (line[(bit >> 3) + 1] as number) : (byte >> (8 - depth - (bit & 7))) & mask;
      out[to + x * pass.columnStep * count + c] = value;
    }
  }
}

/** Pillow's mode for a colour type and depth: 16-bit colour keeps its high bytes, 16-bit grey stays. */
function toSource(
  { width, height, depth, colour }: Header,
  samples: Uint8Array | Uint16Array,
  palette: Uint8Array | undefined,
  where: string,
): SourceImage {
  const facts = { width, height, format: "png", warnings: [] };
  if (colour === 0 && samples instanceof Uint16Array) {
    const warning = `${where}: 16-bit grey is reduced to 8 bits; the reference would clip it to white`;
    return { ...facts, mode: "I;16", data: samples, warnings: [warning] };
  }
  const data = samples instanceof Uint16Array ? Uint8Array.from(samples, (value) => value >> 8) : samples;
  switch (colour) {
    case 0: {
      const scale = 255 / ((1 << depth) - 1);
      const grey = depth === 8 ? data : data.map((value) => value * scale);
      return { ...facts, mode: depth === 1 ? "1" : "L", data: grey };
    }
    case 3:
      if (palette === undefined) throw new UsageError(`${where}: expected a palette, got a PNG without PLTE`);
      return { ...facts, mode: "P", data, palette };
    case 4:
      return { ...facts, mode: "LA", data };
    case 2:
      return { ...facts, mode: "RGB", data };
    default:
      return { ...facts, mode: "RGBA", data };
  }
}
