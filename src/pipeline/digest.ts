/** @file A model's digest: one SHA-256 over the names and contents of its files. */

import { readdir, realpath, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";
import { ModelError } from "../errors.js";
import { sha256, sha256File } from "../util/files.js";

/**
 * SHA-256 (hex) over `name NUL size NUL sha256 LF` of every file under `path`, in the order of the names; of a single file, over its own line.
 * Hidden files are left out. @throws ModelError when `path` does not exist.
 */
export async function digestModel(path: string): Promise<string> {
  const root = await realpath(path).catch((error: unknown) => {
    throw new ModelError(`${path}: expected a model folder or file, got none`, { cause: error });
  });
  const files = (await stat(root)).isDirectory() ? await listFiles(root) : [root];
  const lines: string[] = [];
  for (const file of files) {
    const name = file === root ? basename(file) : relative(root, file).split(sep).join("/");
    lines.push(`${name}\0${(await stat(file)).size}\0${await sha256File(file)}\n`);
  }
  return sha256(lines.join(""));
}

async function listFiles(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(
      (file) =>
        !relative(directory, file)
          .split(sep)
          .some((part) => part.startsWith(".")),
    );
  return files.sort((a, b) => (a < b ? -1 : Number(a > b)));
}
