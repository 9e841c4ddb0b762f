/** @file Writing into the cache of the hub: links, refs and marks, each of which appears whole or not at all. */

import { copyFile, link, lstat, mkdir, readlink, rename, symlink, unlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { randomBytes } from "node:crypto";
import type { HubCache } from "./cache.js";
import { isCommit, repositoryFolder } from "./repository.js";

/** Source: https://bford.info/cachedir/ */
const CACHE_TAG = `Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag: programs that make backups may leave the folder out.
`;

/** The file that says that its folder is a cache. */
export const CACHE_TAG_FILE = "CACHEDIR.TAG";

/** Makes the cache's folder and its tag. */
export async function prepareCache(cache: HubCache): Promise<void> {
  await mkdir(cache.folder, { recursive: true });
  await writeFile(join(cache.folder, CACHE_TAG_FILE), CACHE_TAG, { flag: "wx" }).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    },
  );
}

/** The lock of a blob, beside those of Python's, which are of another kind. */
export function blobLock(cache: HubCache, id: string, etag: string): string {
  return join(cache.folder, ".locks", repositoryFolder(id), `${etag}.laurel`);
}

/** A file of a snapshot that is to stand for a blob. */
export interface Pointer {
  readonly id: string;
  readonly commit: string;
  readonly path: string;
  readonly etag: string;
}

/** Lets a snapshot's file be a blob: a relative link, or where there can be none a second name of it, or a copy. */
export async function linkBlob(cache: HubCache, { id, commit, path, etag }: Pointer, symlinks: boolean): Promise<void> {
  const file = join(cache.snapshotFolder(id, commit), ...path.split("/"));
  const blob = cache.blob(id, etag);
  await mkdir(dirname(file), { recursive: true });
  const target = relative(dirname(file), blob);
  if ((await readlink(file).catch(() => undefined)) === target) return;
  // made under another name outside the snapshot, then renamed: a damaged one is replaced at once
  const temporary = `${blob}.${randomBytes(4).toString("hex")}.link`;
  try {
    await (symlinks ? symlink(target, temporary).catch(() => duplicate(blob, temporary)) : duplicate(blob, temporary));
    await rename(temporary, file);
  } finally {
    // renaming one name of a file to another of its names leaves both
    if (await exists(temporary)) await unlink(temporary);
  }
}

/** Writes down which commit a branch or tag is at. The file is made elsewhere: whatever lies among the refs is read as one. */
export async function writeRef(cache: HubCache, id: string, revision: string, commit: string): Promise<void> {
  if (isCommit(revision)) return;
  const file = cache.ref(id, revision);
  const temporary = cache.blob(id, `${randomBytes(8).toString("hex")}.ref`);
  await Promise.all([mkdir(dirname(file), { recursive: true }), mkdir(dirname(temporary), { recursive: true })]);
  await writeFile(temporary, commit, { flag: "wx" });
  await rename(temporary, file);
}

/** Notes that a commit does not have a file. */
export async function markAbsent(cache: HubCache, id: string, commit: string, path: string): Promise<void> {
  const file = cache.absence(id, commit, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, "");
}

async function duplicate(blob: string, file: string): Promise<void> {
  await link(blob, file).catch(() => copyFile(blob, file));
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
