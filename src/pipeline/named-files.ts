/** @file The files that a run names beside its models, embeddings and LoRAs: where they lie, and whether they are still what they were. */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { ModelError } from "../errors.js";
import { sha256File } from "../util/files.js";
import { describeSystemError, statusFault } from "../util/read-file.js";
import type { FileRecord } from "./manifest.js";

/**
 * What a manifest says of the files.
 * @param what stands for one in messages: `an embedding`
 * @throws ModelError for one that cannot be read
 */
export function fileRecords(what: string, paths: readonly string[]): Promise<FileRecord[]> {
  return Promise.all(paths.map(async (path) => ({ path: resolve(path), sha256: await digestOf(what, path) })));
}

/** @throws ModelError when a file is not the one the run was made with. */
export async function expectFiles(where: string, what: string, records: readonly FileRecord[]): Promise<void> {
  for (const { path, sha256 } of records) {
    const actual = await digestOf(what, path);
    if (actual === sha256) continue;
    const name = what.replace(/^an? /, "");
    throw new ModelError(
      `${where}: expected the ${name} of the run, ${path} (${sha256.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
    );
  }
}

async function digestOf(what: string, path: string): Promise<string> {
  const fail = (actual: string, cause?: unknown): ModelError =>
    new ModelError(`${resolve(path)}: expected ${what}, got ${actual}`, cause === undefined ? undefined : { cause });
  try {
    // a pipe would be waited for
    const fault = statusFault(await stat(path));
    if (fault === undefined) return await sha256File(path);
    throw fail(fault);
  } catch (error) {
    throw error instanceof ModelError ? error : fail(describeSystemError(error), error);
  }
}
