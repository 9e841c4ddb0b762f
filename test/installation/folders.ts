/** @file Folders with models for tests: the layout of a hub's cache, and models that are broken on purpose. */

import { cp, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** Small models of the fixtures. */
export const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));
export const TINY_SD = join(FIXTURES, "models", "tiny-sd");
export const TINY_REWARD = join(FIXTURES, "rewards", "image-reward");

/** The commit of every snapshot made here. */
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Lays out `model` as the hub's cache in `cache` does: files under blobs/, a snapshot of links to them, `refs/main`. */
export async function hubRepository(cache: string, name: string, model: string): Promise<string> {
  const repository = join(cache, `models--${name.replaceAll("/", "--")}`);
  const snapshot = join(repository, "snapshots", COMMIT);
  await mkdir(join(repository, "blobs"), { recursive: true });
  await mkdir(join(repository, "refs"));
  await writeFile(join(repository, "refs", "main"), COMMIT);
  let count = 0;
  for (const entry of await readdir(model, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const blob = join(repository, "blobs", `${String(count++).padStart(4, "0")}${"a".repeat(60)}`);
    await cp(file, blob);
    const link = join(snapshot, relative(model, file));
    await mkdir(dirname(link), { recursive: true });
    await symlink(relative(dirname(link), blob), link);
  }
  return snapshot;
}

/** An environment whose caches lie in `home`, none of them there yet. */
export function environmentOf(home: string, more: Record<string, string> = {}): Record<string, string> {
  return { HOME: home, ...more };
}
