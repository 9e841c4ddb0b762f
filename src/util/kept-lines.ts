/** @file Files of JSON lines in which long measurements keep what is done, so that they can be interrupted and go on. */

import { appendFile, readFile } from "node:fs/promises";
import { UsageError } from "../errors.js";
import { describeSystemError, isMissing, parseJson } from "./read-file.js";

/** What reads a line: a schema. */
interface LineSchema<T> {
  safeParse(value: unknown): { readonly success: true; readonly data: T } | { readonly success: false };
}

/**
 * What `file` keeps, none when it is missing. A line that a kill tore is ended, so that the next one stands for itself, and left out.
 * @param what a line holds: `a measured prompt`
 * @throws UsageError when the file holds something else
 */
export async function readKeptLines<T>(file: string, schema: LineSchema<T>, what: string): Promise<T[]> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (isMissing(error)) return "";
    throw new UsageError(`${file}: expected a file of measurements, got ${describeSystemError(error)}`, {
      cause: error,
    });
  });
  if (text !== "" && !text.endsWith("\n")) await appendFile(file, "\n");
  return text.split("\n").flatMap((line, i) => {
    if (!line.endsWith("}")) return [];
    const parsed = schema.safeParse(parseJson(line, `${file}:${i + 1}`, UsageError));
    if (parsed.success) return [parsed.data];
    throw new UsageError(`${file}:${i + 1}: expected ${what}, got ${line.slice(0, 60)}`);
  });
}
