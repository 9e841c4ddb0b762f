/** @file Reading byte ranges, hashing and atomic writing of files. */

import { createHash, randomBytes } from "node:crypto";
import { createReadStream } from "node:fs";
import { constants, copyFile, type FileHandle, open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { LaurelError } from "../errors.js";

/** What a file is made of: bytes, text, or pieces written one after the other. */
export type FileContent = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes a file so that readers see the old content or the new one, never a part: to a temporary name beside it, then renamed.
 * A symbolic link at `path` is replaced, not followed.
 * @param options.durable also syncs the file and its folder, so that a power cut cannot undo it. @default false
 * @param options.temporary the temporary name, on the same file system. @default beside `path`
 */
export async function writeFileAtomic(
  path: string,
  content: FileContent,
  { durable = false, temporary = temporaryName(path) }: { durable?: boolean; temporary?: string } = {},
): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(temporary, "wx");
    await writeContent(handle, content);
    if (durable) await handle.sync();
    await handle.close();
    handle = undefined;
    await rename(temporary, path);
  } catch (error) {
    await handle?.close().catch(() => undefined);
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
  if (durable) await syncFolder(dirname(path));
}

/** Copies a file so that readers see all of it or none. */
export async function copyFileAtomic(from: string, to: string): Promise<void> {
  const temporary = temporaryName(to);
  try {
    await copyFile(from, temporary, constants.COPYFILE_FICLONE);
    await rename(temporary, to);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}

/** Bytes of a file's name that its temporary name repeats: file systems take 255 in all. */
const REPEATED_BYTES = 200;

/** A hidden name beside `path` for what is being written; {@link isTemporaryName} knows it. */
export function temporaryName(path: string): string {
  let letters = [...basename(path)];
  while (Buffer.byteLength(letters.join("")) > REPEATED_BYTES) letters = letters.slice(0, -1);
  return join(dirname(path), `.${letters.join("")}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`);
}

/** True for the name of a file that {@link writeFileAtomic} or {@link copyFileAtomic} had not finished. */
export function isTemporaryName(name: string): boolean {
  return /^\..+\.\d+\.[0-9a-f]+\.tmp$/.test(name);
}

async function writeContent(handle: FileHandle, content: FileContent): Promise<void> {
  if (typeof content === "string" || content instanceof Uint8Array) {
    await handle.writeFile(content);
    return;
  }
  for await (const piece of content) await writeFully(handle, piece);
}

async function writeFully(handle: FileHandle, piece: Uint8Array): Promise<void> {
  for (let written = 0; written < piece.byteLength;) {
    written += (await handle.write(piece, written, piece.byteLength - written)).bytesWritten;
  }
}

async function syncFolder(path: string): Promise<void> {
  // Folders cannot be opened for syncing on Windows, where a rename is durable once the file is.
  if (process.platform === "win32") return;
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } catch (error) {
    // network and user-space file systems may not know how to sync a folder
    if (!["EINVAL", "ENOTSUP", "ENOSYS"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    await handle.close();
  }
}

/** SHA-256 of a file's bytes in lower-case hex, read as a stream. */
export async function sha256File(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** SHA-256 of bytes or UTF-8 text in lower-case hex. */
export function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/**
 * Exactly `length` bytes from `offset` of a file, in memory of their own (aligned for every element type).
 * @throws LaurelError when the file ends earlier.
 */
export async function readRange(path: string, offset: number, length: number): Promise<Uint8Array> {
  const handle = await open(path, "r");
  try {
    const bytes = new Uint8Array(length);
    const count = await readInto(handle, bytes, offset);
    if (count < length) {
      throw new LaurelError(`${path}: expected ${length} bytes at offset ${offset}, got ${count}`);
    }
    return bytes;
  } finally {
    await handle.close();
  }
}

/** Fills `target` from position `offset` of an open file; returns the bytes read, fewer only at the end of the file. */
export async function readInto(handle: FileHandle, target: Uint8Array, offset: number): Promise<number> {
  let filled = 0;
  while (filled < target.byteLength) {
    // Linux reads at most 2^31 - 4096 bytes a call.
    const chunk = Math.min(target.byteLength - filled, 1 << 30);
    const { bytesRead } = await handle.read(target, filled, chunk, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}
