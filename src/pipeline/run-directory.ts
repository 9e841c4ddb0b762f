/** @file The folder of a run: named by the time and a few words, made under the folder of runs. */

import { randomBytes } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { UsageError } from "../errors.js";

/** Makes the folder of a new run. @throws UsageError when `parent` cannot be written */
export async function makeRunDirectory(
  parent: string,
  createdAt: Date,
  /** Words of it become part of the name. */
  title: string,
): Promise<{ runId: string; directory: string }> {
  try {
    await makeFolder(parent);
  } catch (error) {
    const found = await stat(parent).catch(() => undefined);
    const actual = found?.isFile() === true ? "a file" : ((error as NodeJS.ErrnoException).code ?? String(error));
    throw new UsageError(`${parent}: expected a folder to put runs into, got ${actual}`, { cause: error });
  }
  const time = createdAt.toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
  for (;;) {
    const runId = [time, ...slug(title), randomBytes(2).toString("hex")].join("-");
    const directory = join(parent, runId);
    try {
      await mkdir(directory);
      return { runId, directory };
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EEXIST") continue;
      throw new UsageError(`${parent}: expected a folder that can be written, got ${code ?? String(error)}`, {
        cause: error,
      });
    }
  }
}

/** Makes a folder and those above it. Node's own recursive mkdir never returns where a file system refuses new folders with ENOENT, as /proc does. */
async function makeFolder(path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined))?.isDirectory() === true) return;
  if (dirname(path) !== path) await makeFolder(dirname(path));
  await mkdir(path).catch(async (error: NodeJS.ErrnoException) => {
    // Another process may have been quicker.
    if (error.code !== "EEXIST" || !(await stat(path)).isDirectory()) throw error;
  });
}

/** A few words of the title, so that a person finds the run; empty when it has no Latin letters or digits. */
function slug(title: string): string[] {
  const words =
    title
      .normalize("NFKD")
      .toLowerCase()
      .match(/[a-z0-9]+/g) ?? [];
  const kept = words.slice(0, 8).join("-").slice(0, 40).replace(/-+$/, "");
  return kept === "" ? [] : [kept];
}
