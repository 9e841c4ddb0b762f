/** @file What a bad document is, and how tests lay documents out. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { loadPipeline } from "#laurel/pipeline/document/load";
import type { PipelinePlan } from "#laurel/pipeline/document/plan";

/** A document that must be refused. */
export interface BadDocument {
  readonly yaml: string;
  readonly set?: Readonly<Record<string, string>>;
  /** Files beside it. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Every fault, in its order. `{samplers}` stands for the names of all samplers; folders are left out. */
  readonly faults: readonly string[];
}

/** Runs `work` on a folder with these files. */
export async function withFiles<T>(
  files: Readonly<Record<string, string | Uint8Array>>,
  work: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-document-"));
  try {
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await writeFile(join(folder, name), content);
    }
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The plan of a document with files beside it. */
export function planOf(
  yaml: string,
  set: Readonly<Record<string, string>> = {},
  files: Readonly<Record<string, string | Uint8Array>> = {},
): Promise<PipelinePlan> {
  return withFiles({ "p.yaml": yaml, ...files }, (folder) => loadPipeline(join(folder, "p.yaml"), set));
}
