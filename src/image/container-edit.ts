/** @file Setting the EXIF user comment of JPEG and WebP files. The bytes of their pixels stay as they are. */

import { UsageError } from "../errors.js";
import { withUserComment } from "./exif-edit.js";

const EXIF_MARK = Buffer.from("Exif\0\0", "latin1");
/** A JPEG segment says its length in 16 bits, which count themselves. */
const LARGEST_SEGMENT = 0xffff - 2;
const [VP8X_EXIF, VP8X_ALPHA] = [0x08, 0x10];
/** Markers of a JPEG file: JFIF, EXIF or XMP, comment, pixels, and bytes that only fill up. */
const [APP0, APP1, COMMENT, SCAN, FILL] = [0xe0, 0xe1, 0xfe, 0xda, 0xff];

/** True for what {@link withComment} can write to. */
export function takesComment(bytes: Uint8Array): boolean {
  return isJpeg(bytes) || isWebp(bytes);
}

/**
 * A JPEG or WebP file whose EXIF user comment is `text`, in pieces that are written one after the other.
 * @throws UsageError for another file, a damaged one, or a text that does not fit
 */
export function withComment(bytes: Uint8Array, text: string, where: string): Uint8Array[] {
  if (isJpeg(bytes)) return jpegWithComment(bytes, text, where);
  if (isWebp(bytes)) return webpWithComment(bytes, text, where);
  throw new UsageError(`${where}: expected a JPEG or WebP file to write a comment to, got another`);
}

/**
 * What the pixels of a JPEG or WebP file are made of: all of it but EXIF and XMP data, and comments. Of another file, or a damaged one, all bytes.
 */
export function pixelParts(bytes: Uint8Array): Uint8Array[] {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isJpeg(bytes)) {
    const kept: Uint8Array[] = [];
    let from = 0;
    for (const { marker, start, end } of jpegSegments(file)) {
      if (marker !== APP1 && marker !== COMMENT) continue;
      kept.push(file.subarray(from, start));
      from = end;
    }
    return [...kept, file.subarray(from)];
  }
  if (!isWebp(bytes)) return [bytes];
  // a header that a plain file gets when EXIF data are added says nothing of its pixels
  const kept = webpChunks(file).filter(({ type }) => !["EXIF", "XMP ", "VP8X"].includes(type));
  return kept.length === 0 ? [bytes] : kept.map(({ start, size }) => file.subarray(start, start + 8 + size));
}

function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

function isWebp(bytes: Uint8Array): boolean {
  return /^RIFF....WEBP/s.test(Buffer.from(bytes.subarray(0, 12)).toString("latin1"));
}

function jpegWithComment(bytes: Uint8Array, text: string, where: string): Uint8Array[] {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Where new EXIF data go: behind the JFIF header, which wants to be first. */
  let at = 2;
  for (const { marker, start, end } of jpegSegments(file)) {
    const isExif = marker === APP1 && file.subarray(start + 4, start + 10).equals(EXIF_MARK);
    if (isExif) {
      const exif = withUserComment(file.subarray(start + 10, end), text, where);
      return [file.subarray(0, start), jpegSegment(exif, where), file.subarray(end)];
    }
    if (marker === APP0 && start === at) at = end;
  }
  return [file.subarray(0, at), jpegSegment(withUserComment(undefined, text, where), where), file.subarray(at)];
}

/** A segment of a JPEG file where it lies. */
interface Segment {
  readonly marker: number;
  readonly start: number;
  readonly end: number;
}

/** The segments before the pixels. */
function* jpegSegments(file: Buffer): Generator<Segment> {
  for (let start = 2; start + 4 <= file.length && file[start] === 0xff && file[start + 1] !== SCAN;) {
    const marker = file[start + 1]!;
    if (marker === FILL) {
      start++;
      continue;
    }
    const end = start + 2 + file.readUInt16BE(start + 2);
    if (end > file.length) return;
    yield { marker, start, end };
    start = end;
  }
}

function jpegSegment(exif: Uint8Array, where: string): Uint8Array {
  const length = EXIF_MARK.length + exif.length;
  if (length > LARGEST_SEGMENT)
    throw new UsageError(`${where}: expected a comment of which a JPEG file can hold (64 kB), got ${length} bytes`);
  const head = Buffer.from([0xff, 0xe1, (length + 2) >> 8, (length + 2) & 0xff]);
  return Buffer.concat([head, EXIF_MARK, exif]);
}

/** A chunk of a WebP file where it lies. */
interface Chunk {
  readonly type: string;
  readonly start: number;
  readonly size: number;
  /** With the byte that makes its size even. */
  readonly end: number;
}

function webpWithComment(bytes: Uint8Array, text: string, where: string): Uint8Array[] {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const chunks = webpChunks(file);
  const old = chunks.find(({ type }) => type === "EXIF");
  const data = old === undefined ? undefined : file.subarray(old.start + 8, old.start + 8 + old.size);
  const marked = data?.subarray(0, EXIF_MARK.length).equals(EXIF_MARK) === true;
  const exif = withUserComment(marked ? data.subarray(EXIF_MARK.length) : data, text, where);
  const own = webpChunk("EXIF", marked ? Buffer.concat([EXIF_MARK, exif]) : exif);
  const parts: Uint8Array[] = [extendedHeader(file, chunks, where)];
  for (const chunk of chunks) {
    if (chunk.type === "VP8X") continue;
    // XMP data stand last
    if (chunk.type === "XMP " && old === undefined) parts.push(own);
    parts.push(chunk === old ? own : file.subarray(chunk.start, chunk.end));
    // the last chunk of some files lacks the byte that makes its size even
    if (chunk !== old && (chunk.end - chunk.start) % 2 === 1) parts.push(Buffer.alloc(1));
  }
  if (!parts.includes(own)) parts.push(own);
  const head = Buffer.from("RIFF\0\0\0\0WEBP", "latin1");
  head.writeUInt32LE(4 + parts.reduce((sum, part) => sum + part.length, 0), 4);
  return [head, ...parts];
}

function webpChunks(file: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let start = 12; start + 8 <= file.length;) {
    const size = file.readUInt32LE(start + 4);
    const end = Math.min(start + 8 + size + (size % 2), file.length);
    if (start + 8 + size > file.length) break;
    chunks.push({ type: file.subarray(start, start + 4).toString("latin1"), start, size, end });
    start = end;
  }
  return chunks;
}

function webpChunk(type: string, data: Uint8Array): Uint8Array {
  const head = Buffer.alloc(8);
  head.write(type, "latin1");
  head.writeUInt32LE(data.length, 4);
  return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
}

/** The header that says there are EXIF data; a plain file, which has no such header, gets one. */
function extendedHeader(file: Buffer, chunks: readonly Chunk[], where: string): Uint8Array {
  const extended = chunks.find(({ type }) => type === "VP8X");
  const unsound = new UsageError(`${where}: expected a sound WebP file, got one without pixels`);
  if (!chunks.some(({ type }) => ["VP8 ", "VP8L", "ANMF"].includes(type))) throw unsound;
  if (extended !== undefined) {
    if (extended.size < 10) throw unsound;
    const header = Buffer.from(file.subarray(extended.start, extended.end));
    header[8]! |= VP8X_EXIF;
    return header;
  }
  const pixels = chunks.find(({ type }) => type === "VP8 " || type === "VP8L");
  if (pixels === undefined || pixels.size < 10) throw unsound;
  const at = pixels.start + 8;
  // VP8: 14 bits each after the start code; VP8L: 14 bits each after the signature, less one, then whether there is transparency
  const packed = pixels.type === "VP8L" ? file.readUInt32LE(at + 1) : 0;
  const width = pixels.type === "VP8L" ? packed & 0x3fff : (file.readUInt16LE(at + 6) & 0x3fff) - 1;
  const height = pixels.type === "VP8L" ? (packed >>> 14) & 0x3fff : (file.readUInt16LE(at + 8) & 0x3fff) - 1;
  if (width < 0 || height < 0) throw unsound;
  const header = Buffer.alloc(10);
  header[0] = VP8X_EXIF | ((packed >>> 28) & 1 ? VP8X_ALPHA : 0);
  header.writeUIntLE(width, 4, 3);
  header.writeUIntLE(height, 7, 3);
  return webpChunk("VP8X", header);
}
