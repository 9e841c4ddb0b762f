/**
 * @file Bounded reading of untrusted files: only headers pass through here, never tensor data. Reading is synchronous, as headers are
 * small and many: a checkpoint has one per tensor.
 */

import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { ModelError } from "../errors.js";

/** An open model file. Every read is checked against the size the file had when it was opened. */
export class FileReader {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly descriptor: number,
  ) {}

  /**
   * Opens `path`, runs `use` and closes the file whatever happens.
   * @throws ModelError when the file does not exist, cannot be read or is not a regular file.
   */
  static with<T>(path: string, use: (file: FileReader) => T): T {
    const absolute = resolve(path);
    const descriptor = refuseUnreadable(absolute, () => openSync(absolute, "r"));
    try {
      const status = refuseUnreadable(absolute, () => fstatSync(descriptor));
      if (!status.isFile()) {
        const found = status.isDirectory() ? "a folder" : "a special file";
        throw new ModelError(`${absolute}: expected a file, got ${found}`);
      }
      return use(new FileReader(absolute, status.size, descriptor));
    } finally {
      closeSync(descriptor);
    }
  }

  /** Exactly `length` bytes. `what` names them in errors. @throws ModelError beyond the end of the file. */
  read(offset: number, length: number, what: string): Buffer {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw this.fault(`${what}: expected a range of the file, got ${length} bytes at offset ${offset}`);
    }
    if (offset + length > this.size) {
      throw this.fault(
        `${what}: expected ${length} bytes at offset ${offset}, got the end of the file at ${this.size}`,
      );
    }
    const bytes = Buffer.alloc(length);
    let count = 0;
    while (count < length) {
      const step = refuseUnreadable(this.path, () =>
        readSync(this.descriptor, bytes, count, length - count, offset + count),
      );
      if (step === 0) throw this.fault(`${what}: expected ${length} bytes at offset ${offset}, got ${count}`);
      count += step;
    }
    return bytes;
  }

  /** An error about this file. */
  fault(message: string, options?: ErrorOptions): ModelError {
    return new ModelError(`${this.path}: ${message}`, options);
  }
}

function refuseUnreadable<T>(path: string, access: () => T): T {
  try {
    return access();
  } catch (error) {
    throw new ModelError(`${path}: expected a readable model file, got ${describeSystemError(error)}`, {
      cause: error,
    });
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
