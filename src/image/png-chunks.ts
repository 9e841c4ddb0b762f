/** @file The PNG container: signature, chunks, checksums. */

import { crc32 } from "node:zlib";
import { UsageError } from "../errors.js";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** One chunk; `data` is a view into the file. */
export interface PngChunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** True when the bytes start as a PNG file does. */
export function isPng(bytes: Uint8Array): boolean {
  return SIGNATURE.every((byte, i) => bytes[i] === byte);
}

/**
 * The chunks of a PNG file in order, up to IEND. Chunks that a decoder cannot do without have their checksum verified.
 *
 * @throws UsageError for another file type, a damaged chunk, or a chunk that ends after the file.
 */
export function* readChunks(bytes: Uint8Array, where: string): Generator<PngChunk> {
  if (!isPng(bytes)) throw new UsageError(`${where}: expected a PNG file, got another signature`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = SIGNATURE.length;
  while (offset + 12 <= bytes.length) {
    const length = view.getUint32(offset);
    const end = offset + 8 + length;
    if (end + 4 > bytes.length) break;
    const type = Buffer.from(bytes.subarray(offset + 4, offset + 8)).toString("latin1");
    const isCritical = /^[A-Z]/.test(type);
    if (isCritical && crc32(bytes.subarray(offset + 4, end)) !== view.getUint32(end)) {
      throw new UsageError(`${where}: expected a sound PNG file, got a wrong checksum in its ${type} chunk`);
    }
    yield { type, data: bytes.subarray(offset + 8, end) };
    if (type === "IEND") return;
    offset = end + 4;
  }
  if (offset < bytes.length) throw new UsageError(`${where}: expected a complete PNG file, got a truncated one`);
}

/** The file made of these chunks. */
export function writeChunks(chunks: readonly PngChunk[]): Uint8Array {
  const parts: Uint8Array[] = [SIGNATURE];
  for (const { type, data } of chunks) {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(data.length, 0);
    head.write(type, 4, "latin1");
    const tail = Buffer.alloc(4);
    tail.writeUInt32BE(crc32(data, crc32(head.subarray(4))), 0);
    parts.push(head, data, tail);
  }
  return Uint8Array.from(Buffer.concat(parts));
}
