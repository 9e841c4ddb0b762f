/** @file Files of lines that are appended to: read one after the other, in little memory, whatever is in them. */

import { type FileHandle, open } from "node:fs/promises";
import { UsageError } from "../errors.js";
import { readInto } from "./files.js";
import { isMissing, OPEN_FLAGS, statusFault } from "./read-file.js";

/** A line with its line break, which is how one tells that all of it was written. */
export interface Line {
  /** Without the line break; undefined when it is longer than a line may be. */
  readonly text: string | undefined;
  /** Where it begins in the file, and how long it is without its line break, in bytes. */
  readonly offset: number;
  readonly bytes: number;
}

const CHUNK = 1 << 16;
const BREAK = 0x0a;

/** The lines of a file as it is when reading begins; none when it is missing. What follows the last line break is left out. @throws UsageError when it is no regular file */
export async function* completeLines(path: string, longest: number): AsyncGenerator<Line, void> {
  let handle: FileHandle;
  try {
    handle = await open(path, OPEN_FLAGS);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  try {
    const status = await handle.stat();
    const actual = statusFault(status);
    if (actual !== undefined) throw new UsageError(`${path}: expected a file of lines, got ${actual}`);
    const { size } = status;
    /** What is read of the line that begins at `offset`; the rest of one that is too long is only counted. */
    let begun = Buffer.alloc(0);
    let offset = 0;
    for (let position = 0; position < size; position += CHUNK) {
      const chunk = Buffer.alloc(Math.min(CHUNK, size - position));
      const count = await readInto(handle, chunk, position);
      let start = 0;
      for (let end = chunk.indexOf(BREAK); end >= 0 && end < count; end = chunk.indexOf(BREAK, start)) {
        const bytes = position + end - offset;
        const text = bytes > longest ? undefined : Buffer.concat([begun, chunk.subarray(start, end)]).toString("utf8");
        yield { text, offset, bytes };
        start = end + 1;
        offset = position + start;
        begun = Buffer.alloc(0);
      }
      if (begun.byteLength <= longest) begun = Buffer.concat([begun, chunk.subarray(start, count)]);
    }
  } finally {
    await handle.close();
  }
}
