/** @file Datasets appear whole or not at all: they are written beside their place under a hidden name, then renamed. */

import { lstat, mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { UsageError } from "../../errors.js";
import { temporaryName } from "../../util/files.js";

/** @throws UsageError when there is something at `path` that must not be replaced: anything without `force`, no regular file with it */
export async function checkFilePlace(path: string, force: boolean): Promise<void> {
  const status = await lstat(path).catch(() => undefined);
  if (status === undefined) return;
  if (!status.isFile())
    throw new UsageError(`${path}: expected the name of a file to write, got a folder or a special file`);
  if (!force) throw occupied(path, "a file");
}

/**
 * Fills a new folder and puts it in its place; on failure nothing is left of it.
 * @param mark a file that a folder must hold for `force` to replace it
 * @throws UsageError when `path` is taken
 */
export async function writeFolderAtomic<Result>(
  path: string,
  { force, mark }: { readonly force: boolean; readonly mark: string },
  fill: (folder: string) => Promise<Result>,
): Promise<Result> {
  const there = await namesIn(path);
  if (there !== undefined && there.length > 0) {
    if (!force) throw occupied(path, "a folder that is not empty");
    if (!there.includes(mark))
      throw new UsageError(`${path}: expected a dataset (a folder with ${mark}) to replace, got something else`);
  }
  return withParent(path, async () => {
    const staged = temporaryName(path);
    const old = temporaryName(path);
    try {
      await mkdir(staged);
      const result = await fill(staged);
      if (there !== undefined) await rename(path, old);
      await rename(staged, path).catch(async (error: unknown) => {
        if (there !== undefined) await rename(old, path);
        throw error;
      });
      await rm(old, { recursive: true, force: true });
      return result;
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      throw error;
    }
  });
}

/**
 * Fills a hidden folder inside `folder`, then moves its files out of it; on failure nothing is left of them.
 * @param own says which names in `folder` belong to the dataset: refused without `force`, with it those not written anew are removed
 */
export async function writeFilesAtomic<Result>(
  folder: string,
  { force, own }: { readonly force: boolean; readonly own: (name: string) => boolean },
  fill: (folder: string) => Promise<Result>,
): Promise<Result> {
  const old = ((await namesIn(folder)) ?? []).filter(own);
  if (old[0] !== undefined && !force) throw occupied(join(folder, old[0]), "a file");
  return withParent(join(folder, "part"), async () => {
    const staged = temporaryName(join(folder, "dataset"));
    try {
      await mkdir(staged);
      const result = await fill(staged);
      const names = (await readdir(staged)).sort();
      for (const name of names) await rename(join(staged, name), join(folder, name));
      for (const name of old) if (!names.includes(name)) await rm(join(folder, name));
      await rmdir(staged);
      return result;
    } catch (error) {
      await rm(staged, { recursive: true, force: true });
      throw error;
    }
  });
}

/** Does something in the folder that holds `path`; folders that had to be made for it go again when it fails. */
export async function withParent<Result>(path: string, act: () => Promise<Result>): Promise<Result> {
  const made = await mkdir(dirname(resolve(path)), { recursive: true });
  try {
    return await act();
  } catch (error) {
    if (made !== undefined) await removeEmpty(dirname(resolve(path)), made);
    throw error;
  }
}

/** Removes `folder` and those above it as far as `last`, while they are empty. */
async function removeEmpty(folder: string, last: string): Promise<void> {
  try {
    for (let current = folder; current.startsWith(last); current = dirname(current)) await rmdir(current);
  } catch {
    // something else is in it by now
  }
}

function occupied(path: string, actual: string): UsageError {
  return new UsageError(`${path}: expected no such file yet, or --force to replace it, got ${actual}`);
}

/** Names in a folder; undefined when there is none. @throws UsageError for what is no folder */
async function namesIn(path: string): Promise<string[] | undefined> {
  const status = await lstat(path).catch(() => undefined);
  if (status === undefined) return undefined;
  if (!status.isDirectory()) throw new UsageError(`${path}: expected the name of a folder to write, got a file`);
  return readdir(path);
}
