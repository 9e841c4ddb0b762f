/**
 * @file The first frame of a GIF as Pillow opens it: palette indices, whose colours stay even where they are transparent. Image
 * libraries expand palettes and blank transparent pixels, and a reward's resizing sees both (GIF89a; Pillow 13.0.0, GifImagePlugin.py).
 */

import { UsageError } from "../errors.js";
import type { SourceImage } from "./types.js";
import { checkSize } from "./types.js";

const MAX_CODES = 4096;
/** Where the rows of an interlaced frame come from: first row and row step of each pass. */
const PASSES = [
  [0, 8],
  [4, 8],
  [2, 4],
  [1, 2],
] as const;

/** True when the bytes start as a GIF file does. */
export function isGif(bytes: Uint8Array): boolean {
  return /^GIF8[79]a/.test(Buffer.from(bytes.subarray(0, 6)).toString("latin1"));
}

/** Decodes the first frame of a GIF file. @throws UsageError naming `where` when it is damaged, truncated or too large. */
export function decodeGif(bytes: Uint8Array, where: string, mostPixels?: number): SourceImage {
  const file = new Cursor(bytes, where);
  file.take(6);
  const screen = { width: file.uint16(), height: file.uint16() };
  const screenFlags = file.byte();
  file.take(2);
  const globalPalette = readPalette(file, screenFlags);
  const transparent = skipToFrame(file);
  const [left, top, frameWidth, frameHeight] = [file.uint16(), file.uint16(), file.uint16(), file.uint16()];
  const flags = file.byte();
  const palette = readPalette(file, flags) ?? globalPalette;
  // A frame that reaches over the screen widens it; what it leaves free is transparent, else of the first colour.
  const width = Math.max(screen.width, left + frameWidth);
  const height = Math.max(screen.height, top + frameHeight);
  checkSize(where, frameWidth, frameHeight, mostPixels);
  checkSize(where, width, height, mostPixels);
  const bits = file.byte();
  if (bits > 11) throw new UsageError(`${where}: expected GIF codes of at most 12 bits, got ${bits + 1}`);
  const indices = decodeCodes(file.blocks(), bits, frameWidth * frameHeight, where);
  const data = new Uint8Array(width * height);
  if (transparent !== undefined) data.fill(transparent);
  const rows = (flags & 0x40) === 0 ? undefined : interlacedRows(frameHeight);
  for (let i = 0; i < frameHeight; i++) {
    const start = (top + (rows?.[i] ?? i)) * width + left;
    data.set(indices.subarray(i * frameWidth, (i + 1) * frameWidth), start);
  }
  const facts = { width, height, format: "gif", warnings: [] };
  // A palette of greys, each its own index, is none.
  if (palette === undefined || isGreyRamp(palette)) return { ...facts, mode: "L", data };
  return { ...facts, mode: "P", data, palette };
}

/** Reads a file from front to back. @throws UsageError where it ends too early */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #where: string;
  #offset = 0;

  constructor(bytes: Uint8Array, where: string) {
    this.#bytes = bytes;
    this.#where = where;
  }

  take(count: number): Uint8Array {
    const part = this.#bytes.subarray(this.#offset, this.#offset + count);
    if (part.length < count) throw new UsageError(`${this.#where}: expected a complete GIF file, got a truncated one`);
    this.#offset += count;
    return part;
  }

  byte(): number {
    return this.take(1)[0] as number;
  }

  uint16(): number {
    return this.byte() | (this.byte() << 8);
  }

  /** The data blocks up to an empty one, together. */
  blocks(): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let length = this.byte(); length > 0; length = this.byte()) parts.push(this.take(length));
    return Buffer.concat(parts);
  }

  fail(expected: string, actual: string): UsageError {
    return new UsageError(`${this.#where}: expected ${expected}, got ${actual}`);
  }
}

/** The table of colours that a screen's or a frame's flags announce. */
function readPalette(file: Cursor, flags: number): Uint8Array | undefined {
  return (flags & 0x80) === 0 ? undefined : file.take(3 << ((flags & 7) + 1)).slice();
}

/** Passes the extensions up to the first frame; returns the index that is transparent in it. */
function skipToFrame(file: Cursor): number | undefined {
  let transparent: number | undefined;
  for (;;) {
    const kind = file.byte();
    if (kind === 0x2c) return transparent;
    if (kind === 0x3b) throw file.fail("a GIF file with a frame", "its end");
    if (kind !== 0x21) continue;
    const label = file.byte();
    const content = file.blocks();
    if (label === 0xf9 && content.length >= 4 && ((content[0] as number) & 1) === 1) transparent = content[3];
  }
}

function isGreyRamp(palette: Uint8Array): boolean {
  return palette.every((value, i) => value === Math.floor(i / 3));
}

function interlacedRows(height: number): number[] {
  return PASSES.flatMap(([first, step]) =>
    Array.from({ length: Math.max(0, Math.ceil((height - first) / step)) }, (_, i) => first + i * step),
  );
}

/** Unpacks LZW codes to `count` indices; what follows them is ignored. */
function decodeCodes(codes: Uint8Array, bits: number, count: number, where: string): Uint8Array {
  const out = new Uint8Array(count);
  const clear = 1 << bits;
  // An entry is the entry of its prefix and one index more; `lengths` counts them.
  const prefixes = new Uint16Array(MAX_CODES);
  const lasts = new Uint8Array(MAX_CODES);
  const lengths = new Uint16Array(MAX_CODES);
  for (let i = 0; i < clear; i++) {
    lasts[i] = i;
    lengths[i] = 1;
  }
  let width = bits + 1;
  let next = clear + 2;
  let previous = -1;
  let [buffer, buffered, written] = [0, 0, 0];
  const damaged = (what: string) => new UsageError(`${where}: expected sound GIF data, got ${what}`);
  for (const byte of codes) {
    buffer |= byte << buffered;
    buffered += 8;
    while (buffered >= width && written < count) {
      const code = buffer & ((1 << width) - 1);
      buffer >>>= width;
      buffered -= width;
      if (code === clear) {
        [width, next, previous] = [bits + 1, clear + 2, -1];
        continue;
      }
      if (code === clear + 1) throw damaged(`the end after ${written} of ${count} pixels`);
      const isNew = code === next && previous >= 0;
      if (code > next || (code >= clear && previous < 0) || (code === next && !isNew)) throw damaged(`code ${code}`);
      if (previous >= 0 && next < MAX_CODES) {
        // A code that names the entry being made starts and ends with the same index.
        lasts[next] = firstOf(isNew ? previous : code, prefixes, lasts, clear);
        prefixes[next] = previous;
        lengths[next] = (lengths[previous] as number) + 1;
        next++;
        if (next === 1 << width && width < 12) width++;
      } else if (isNew) throw damaged(`code ${code}`);
      const end = written + (lengths[code] as number);
      let entry = code;
      for (let at = end - 1; at >= written; at--) {
        if (at < count) out[at] = lasts[entry] as number;
        entry = prefixes[entry] as number;
      }
      written = Math.min(end, count);
      previous = code;
    }
    if (written === count) return out;
  }
  throw damaged(`${written} of ${count} pixels (truncated file)`);
}

function firstOf(code: number, prefixes: Uint16Array, lasts: Uint8Array, clear: number): number {
  let entry = code;
  while (entry >= clear) entry = prefixes[entry] as number;
  return lasts[entry] as number;
}
