/** @file Bounded reading of untrusted files: only headers pass through here, never tensor data. */

import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import { ModelError } from "../errors.js";
import { readInto } from "../util/files.js";

/** An open model file. Every read is checked against the size the file had when it was opened. */
export class FileReader {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  /** @throws ModelError when the file does not exist, cannot be read or is not a regular file. */
  static async open(path: string): Promise<FileReader> {
    const absolute = resolve(path);
    let handle: FileHandle | undefined;
    try {
      handle = await open(absolute, "r");
      const status = await handle.stat();
      if (!status.isFile()) {
        throw new ModelError(
          `${absolute}: expected a file, got ${status.isDirectory() ? "a folder" : "a special file"}`,
        );
      }
      return new FileReader(absolute, status.size, handle);
    } catch (error) {
      await handle?.close();
      if (error instanceof ModelError) throw error;
      throw new ModelError(`${absolute}: expected a readable model file, got ${describeSystemError(error)}`, {
        cause: error,
      });
    }
  }

  /** Opens `path`, runs `use` and closes the file whatever happens. */
  static async with<T>(path: string, use: (file: FileReader) => Promise<T>): Promise<T> {
    const file = await FileReader.open(path);
    try {
      return await use(file);
    } finally {
      await file.handle.close();
    }
  }

  /** Exactly `length` bytes. `what` names them in errors. @throws ModelError beyond the end of the file. */
  async read(offset: number, length: number, what: string): Promise<Buffer> {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw this.fault(`${what}: expected a range of the file, got ${length} bytes at offset ${offset}`);
    }
    if (offset + length > this.size) {
      throw this.fault(
        `${what}: expected ${length} bytes at offset ${offset}, got the end of the file at ${this.size}`,
      );
    }
    const bytes = Buffer.alloc(length);
    const count = await readInto(this.handle, bytes, offset);
    if (count !== length) throw this.fault(`${what}: expected ${length} bytes at offset ${offset}, got ${count}`);
    return bytes;
  }

  /** An error about this file. */
  fault(message: string, options?: ErrorOptions): ModelError {
    return new ModelError(`${this.path}: ${message}`, options);
  }
}

/** `ENOENT: no such file or directory` for a system error, else its message. */
export function describeSystemError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOENT") return "no such file";
  if (code === "EACCES" || code === "EPERM") return "no permission to read it";
  if (code === "EISDIR") return "a folder";
  return error.message;
}
