/**
 * @file Bounded reading of untrusted files: only headers pass through here, never tensor data. Reading is synchronous, as headers are
 * small and many: a checkpoint has one per tensor.
 */

import { closeSync, readSync } from "node:fs";
import { resolve } from "node:path";
import { ModelError } from "../errors.js";
import { describeSystemError, openRegular } from "../util/read-file.js";

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
    const { descriptor, size } = openRegular(absolute, (actual, cause) => unreadable(absolute, actual, cause));
    try {
      return use(new FileReader(absolute, size, descriptor));
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
      const step = this.readSome(bytes, count, offset + count);
      if (step === 0)
        throw this.fault(`${what}: expected ${length} bytes at offset ${offset}, got ${count}: it became shorter`);
      count += step;
    }
    return bytes;
  }

  private readSome(bytes: Buffer, filled: number, position: number): number {
    try {
      return readSync(this.descriptor, bytes, filled, bytes.length - filled, position);
    } catch (error) {
      throw unreadable(this.path, describeSystemError(error), error);
    }
  }

  /** An error about this file. */
  fault(message: string, options?: ErrorOptions): ModelError {
    return new ModelError(`${this.path}: ${message}`, options);
  }
}

function unreadable(path: string, actual: string, cause?: unknown): ModelError {
  return new ModelError(`${path}: expected a readable model file, got ${actual}`, { cause });
}
