/**
 * @file Reading small files that nobody vouches for. Pipes, devices, folders and links in circles are refused without waiting for them, no
 * file is read beyond a limit, and what is plainly something else (a git LFS pointer, a web page) is called by its name.
 */

import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { LaurelError } from "../errors.js";
import { ModelError } from "../errors.js";
import { readInto } from "./files.js";
import { HEAD_BYTES, recogniseForeign } from "./foreign.js";

/** What is to be read, and how errors about it look. */
export interface ReadOptions {
  /** What should be there: `a tokenizer's configuration`. */
  readonly expected: string;
  /** Most bytes the file may have. @default 16 MiB */
  readonly limit?: number;
  /** Class of the errors. @default ModelError */
  readonly as?: ErrorClass;
}

type ErrorClass = new (message: string, options?: ErrorOptions) => LaurelError;

const DEFAULT_LIMIT = 16 << 20;
/** Opening a pipe that nobody writes to would wait forever. Windows has no such flag. */
export const OPEN_FLAGS = constants.O_RDONLY | ((constants as Partial<typeof constants>).O_NONBLOCK ?? 0);
/** JSON nested deeper is an attack: recursive code that meets it would overflow the stack. */
const MAX_JSON_DEPTH = 64;

const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  ENOTDIR: "no such file",
  EACCES: "no permission to read it",
  EPERM: "no permission to read it",
  EISDIR: "a folder",
  ELOOP: "symbolic links in a circle",
  ENAMETOOLONG: "a name that is too long",
  ENXIO: "a special file",
  EAGAIN: "a special file",
};

/** `no such file` for a system error of a common kind, else its message. */
export function describeSystemError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code = "" } = error as NodeJS.ErrnoException;
  return SYSTEM_ERRORS[code] ?? error.message;
}

/** Why something could not be written, in words. */
export function writeFault(error: unknown): string {
  const { code = "" } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC" || code === "EDQUOT") return "a full disk";
  if (code === "EROFS") return "a disk that is read-only";
  if (code === "EACCES" || code === "EPERM") return "no permission to write there";
  return describeSystemError(error);
}

/** True for the error of a file that does not exist. */
export function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

/** What is asked of a file's status. */
export interface Status {
  readonly size: number;
  isFile(): boolean;
  isDirectory(): boolean;
}

/** Why a file of this status cannot be read, or undefined. */
export function statusFault(status: Status): string | undefined {
  if (status.isFile()) return undefined;
  return status.isDirectory() ? "a folder" : "a special file (a pipe or a device)";
}

/** Opens a regular file for reading, without ever waiting. The caller closes the descriptor. @throws what `fault` makes of the reason */
export function openRegular(
  path: string,
  fault: (actual: string, cause?: unknown) => Error,
): { readonly descriptor: number; readonly size: number } {
  let descriptor: number;
  try {
    descriptor = openSync(path, OPEN_FLAGS);
  } catch (error) {
    throw fault(describeSystemError(error), error);
  }
  try {
    const status = fstatSync(descriptor);
    const actual = statusFault(status);
    if (actual !== undefined) throw fault(actual);
    return { descriptor, size: status.size };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function faultOf(path: string, { expected, as = ModelError }: ReadOptions) {
  return (actual: string, cause?: unknown): LaurelError =>
    new as(`${path}: expected ${expected}, got ${actual}`, cause === undefined ? undefined : { cause });
}

function sizeFault(size: number, { limit = DEFAULT_LIMIT }: ReadOptions): string | undefined {
  return size > limit ? `${size} bytes, more than the ${limit} it may have` : undefined;
}

/** A file's bytes. @throws `options.as` when it cannot be read, is no regular file, is too large or became shorter meanwhile */
export async function readBytes(path: string, options: ReadOptions): Promise<Buffer> {
  const fault = faultOf(path, options);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, OPEN_FLAGS);
    const status = await handle.stat();
    const actual = statusFault(status) ?? sizeFault(status.size, options);
    if (actual !== undefined) throw fault(actual);
    const bytes = Buffer.alloc(status.size);
    const count = await readInto(handle, bytes, 0);
    if (count < status.size) throw fault(`${count} bytes of ${status.size}: it became shorter`);
    return bytes;
  } catch (error) {
    if (error instanceof (options.as ?? ModelError)) throw error;
    throw fault(describeSystemError(error), error);
  } finally {
    await handle?.close();
  }
}

/** As `readBytes`, at once. */
export function readBytesSync(path: string, options: ReadOptions): Buffer {
  const fault = faultOf(path, options);
  const { descriptor, size } = openRegular(path, fault);
  try {
    const actual = sizeFault(size, options);
    if (actual !== undefined) throw fault(actual);
    const bytes = Buffer.alloc(size);
    for (let count = 0, step = 1; count < size; count += step) {
      step = readSync(descriptor, bytes, count, size - count, count);
      if (step === 0) throw fault(`${count} bytes of ${size}: it became shorter`);
    }
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}

/** A file's text in UTF-8, without a byte order mark. @throws as `readBytes`; also when it is plainly something else than text */
export async function readText(path: string, options: ReadOptions): Promise<string> {
  return decodeText(await readBytes(path, options), faultOf(path, options));
}

/** As `readText`; undefined when there is no such file. */
export async function readTextIfThere(path: string, options: ReadOptions): Promise<string | undefined> {
  try {
    return await readText(path, options);
  } catch (error) {
    if (isMissing((error as Error).cause ?? {})) return undefined;
    throw error;
  }
}

/** As `readText`, at once. */
export function readTextSync(path: string, options: ReadOptions): string {
  return decodeText(readBytesSync(path, options), faultOf(path, options));
}

function decodeText(bytes: Buffer, fault: (actual: string, cause?: unknown) => LaurelError): string {
  const foreign = bytes.length === 0 ? undefined : recogniseForeign(bytes.subarray(0, HEAD_BYTES));
  if (foreign !== undefined) throw fault(foreign);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw fault("bytes that are no text in UTF-8", error);
  }
}

/** Parses JSON; refuses deep nesting. `where` names the file. @throws `as`, ModelError if not given */
export function parseJson(text: string, where: string, as: ErrorClass = ModelError): unknown {
  if (text.trim() === "") throw new as(`${where}: expected JSON, got an empty file (a download cut short?)`);
  if (jsonDepth(text) > MAX_JSON_DEPTH) {
    throw new as(`${where}: expected JSON of at most ${MAX_JSON_DEPTH} levels, got deeper nesting`);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new as(`${where}: expected JSON, got ${(cause as SyntaxError).message}`, { cause });
  }
}

/** Most brackets open at once. */
function jsonDepth(text: string): number {
  let [depth, deepest, quoted] = [0, 0, false];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (quoted) {
      if (code === 0x5c) i++;
      else if (code === 0x22) quoted = false;
    } else if (code === 0x22) quoted = true;
    else if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth--;
  }
  return deepest;
}
