/** @file Takes revisions out of the cache, and the blobs that nothing refers to any more. */

import { readdir, readFile, readlink, rm, rmdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isBlobLocked } from "./blob-lock.js";
import type { HubCache } from "./cache.js";
import { blobLock } from "./store.js";
import { snapshotsOf } from "./verify.js";

/** What was taken away, or would be. */
export interface Removal {
  readonly id: string;
  readonly commits: readonly string[];
  readonly blobs: number;
  /** Given back to the disk. */
  readonly bytes: number;
  /** Blobs that nothing refers to, which another process is fetching. */
  readonly inUse: number;
}

/** What removing would do. */
export interface RemovalPlan {
  readonly id: string;
  readonly commits: readonly string[];
  readonly blobs: readonly { readonly etag: string; readonly bytes: number }[];
}

/** What goes with these commits of a repository. @param commits @default all */
export async function planRemoval(cache: HubCache, id: string, commits?: readonly string[]): Promise<RemovalPlan> {
  const snapshots = await snapshotsOf(cache, id);
  const going = snapshots.filter(({ commit }) => commits === undefined || commits.includes(commit));
  const staying = snapshots.filter((snapshot) => !going.includes(snapshot));
  const kept = new Set((await Promise.all(staying.map(({ path }) => blobsBelow(path)))).flat());
  const folder = join(cache.repository(id), "blobs");
  const names = await readdir(folder).catch(() => []);
  const blobs: { etag: string; bytes: number }[] = [];
  for (const etag of names.filter((name) => !kept.has(name))) {
    blobs.push({ etag, bytes: (await stat(join(folder, etag)).catch(() => undefined))?.size ?? 0 });
  }
  return { id, commits: going.map(({ commit }) => commit), blobs };
}

/**
 * Does what {@link planRemoval} says: the names first, so that a revision that is half gone is not found, then the snapshots, then the blobs.
 * A blob that another process is fetching stays.
 */
export async function remove(cache: HubCache, { id, commits, blobs }: RemovalPlan): Promise<Removal> {
  const folder = cache.repository(id);
  await removeRefs(join(folder, "refs"), commits);
  for (const commit of commits) {
    await rm(cache.snapshotFolder(id, commit), { recursive: true, force: true });
    await rm(join(folder, ".no_exist", commit), { recursive: true, force: true });
  }
  let [removed, bytes, inUse] = [0, 0, 0];
  for (const blob of blobs) {
    if (await isBlobLocked(blobLock(cache, id, blob.etag.replace(/\..*$/, "")))) inUse++;
    else {
      await rm(cache.blob(id, blob.etag), { force: true });
      removed++;
      bytes += blob.bytes;
    }
  }
  if ((await snapshotsOf(cache, id)).length === 0) await removeEmpty(folder);
  return { id, commits, blobs: removed, bytes, inUse };
}

/** Takes away what is left of a repository without snapshots; what another process has begun there stays. */
async function removeEmpty(folder: string): Promise<void> {
  await rm(join(folder, ".no_exist"), { recursive: true, force: true });
  for (const name of ["snapshots", "refs", "blobs"]) await rmdir(join(folder, name)).catch(() => undefined);
  await rmdir(folder).catch(() => undefined);
}

/** Takes away the names of commits, and folders of names that are then empty. */
async function removeRefs(folder: string, commits: readonly string[]): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(() => [])) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      await removeRefs(path, commits);
      await rmdir(path).catch(() => undefined);
    } else if (commits.includes((await readFile(path, "utf8").catch(() => "")).trim())) await unlink(path);
  }
}

/** Names of the blobs that links below a snapshot lead to. */
async function blobsBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const links = entries.filter((entry) => entry.isSymbolicLink()).map((entry) => join(entry.parentPath, entry.name));
  const targets = await Promise.all(links.map(async (path) => resolve(dirname(path), await readlink(path))));
  return targets.filter((target) => basename(dirname(target)) === "blobs").map((target) => basename(target));
}
