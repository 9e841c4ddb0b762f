/** @file Changing the texts of a PNG file and nothing else: every other byte stays, those of the pixels above all. */

import { UsageError } from "../errors.js";
import { isPng, type PngChunk, writeChunks } from "./png-chunks.js";
import { type PngText, textChunk } from "./png.js";

const SIGNATURE_BYTES = 8;
const TEXT_TYPES = ["tEXt", "zTXt", "iTXt"];

/** A chunk where it lies in the file. */
interface Span {
  readonly type: string;
  readonly start: number;
  readonly end: number;
}

/**
 * The file with these texts, in pieces that are written one after the other. A text takes the place of the last one with its keyword, which is the one that readers
 * believe; a new one stands before the pixels. All other chunks stay as they are, known or not, with the checksums they have, and so does what follows the last.
 * @throws UsageError when the bytes are no PNG file, or end inside a chunk
 */
export function withPngTexts(bytes: Uint8Array, texts: readonly PngText[], where: string): Uint8Array[] {
  const spans = spansOf(bytes, where);
  const replaced = new Map<Span, PngText>();
  const added: PngText[] = [];
  for (const text of texts) {
    const own = spans.findLast((span) => keywordOf(bytes, span) === text.keyword);
    if (own === undefined) added.push(text);
    else replaced.set(own, text);
  }
  const firstPixels = spans.find(({ type }) => type === "IDAT")!;
  const pieces: Uint8Array[] = [];
  let from = 0;
  const upTo = (at: number): void => {
    if (at > from) pieces.push(bytes.subarray(from, at));
    from = at;
  };
  for (const span of spans) {
    const text = replaced.get(span);
    if (span === firstPixels && added.length > 0) {
      upTo(span.start);
      pieces.push(...added.map((one) => chunkBytes(textChunk(one))));
    }
    if (text === undefined) continue;
    upTo(span.start);
    pieces.push(chunkBytes(textChunk(text)));
    from = span.end;
  }
  upTo(bytes.length);
  return pieces;
}

/** The chunks that the pixels are made of, with type and data; two files with the same are the same picture. @throws as {@link withPngTexts} */
export function pngPixelParts(bytes: Uint8Array, where: string): Uint8Array[] {
  return spansOf(bytes, where)
    .filter(({ type }) => /^[A-Z]/.test(type) || type === "tRNS")
    .map(({ start, end }) => bytes.subarray(start + 4, end - 4));
}

function spansOf(bytes: Uint8Array, where: string): Span[] {
  if (!isPng(bytes)) throw new UsageError(`${where}: expected a PNG file, got another signature`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const spans: Span[] = [];
  for (let start = SIGNATURE_BYTES; start + 12 <= bytes.length;) {
    const end = start + 12 + view.getUint32(start);
    if (end > bytes.length) break;
    const type = Buffer.from(bytes.subarray(start + 4, start + 8)).toString("latin1");
    spans.push({ type, start, end });
    if (type === "IEND") break;
    start = end;
  }
  if (spans.at(-1)?.type !== "IEND" || !spans.some(({ type }) => type === "IDAT"))
    throw new UsageError(`${where}: expected a complete PNG file, got one without pixels or end`);
  return spans;
}

function keywordOf(bytes: Uint8Array, { type, start, end }: Span): string | undefined {
  if (!TEXT_TYPES.includes(type)) return undefined;
  const data = bytes.subarray(start + 8, Math.min(end - 4, start + 8 + 80));
  const length = data.indexOf(0);
  return length < 1 ? undefined : Buffer.from(data.subarray(0, length)).toString("latin1");
}

function chunkBytes(chunk: PngChunk): Uint8Array {
  return writeChunks([chunk]).subarray(SIGNATURE_BYTES);
}
