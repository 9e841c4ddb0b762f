/** @file The embeddings of a run: where they lie, and whether they are still what they were. */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { ModelError } from "../errors.js";
import { sha256File } from "../util/files.js";
import type { EmbeddingRecord } from "./manifest.js";

/** What a manifest says of the files. @throws ModelError for one that cannot be read */
export function embeddingRecords(paths: readonly string[]): Promise<EmbeddingRecord[]> {
  return Promise.all(paths.map(async (path) => ({ path: resolve(path), sha256: await digestOf(path) })));
}

/** @throws ModelError when a file is not the one the run was made with. */
export async function expectEmbeddings(where: string, records: readonly EmbeddingRecord[]): Promise<void> {
  for (const { path, sha256 } of records) {
    const actual = await digestOf(path);
    if (actual === sha256) continue;
    throw new ModelError(
      `${where}: expected the embedding of the run, ${path} (${sha256.slice(0, 12)}), got another (${actual.slice(0, 12)})`,
    );
  }
}

async function digestOf(path: string): Promise<string> {
  try {
    // a pipe would be waited for
    if ((await stat(path)).isFile()) return await sha256File(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const actual = code === "ENOENT" ? "no such file" : String(code ?? cause);
    throw new ModelError(`${resolve(path)}: expected an embedding, got ${actual}`, { cause });
  }
  throw new ModelError(`${resolve(path)}: expected an embedding, got no file but a folder or a device`);
}
