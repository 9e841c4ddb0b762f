/** @file Putting a file somewhere else without ever overwriting one: copied, moved or linked. */

import {
  chmod,
  constants,
  copyFile,
  link,
  lstat,
  open,
  readlink,
  realpath,
  rename,
  stat,
  symlink,
  unlink,
  utimes,
} from "node:fs/promises";
import { UsageError } from "../../errors.js";
import { sha256File, temporaryName } from "../../util/files.js";
import { isWithoutLinks } from "../../util/process-lock.js";

/** How a file gets to its place. */
export type PlaceMode = "copy" | "move" | "link";

/**
 * Places a file under a name that is free. What is seen under the new name is whole at every moment. A move to another disk is a copy that is compared byte by byte (SHA-256)
 * before the original goes. A symbolic link is placed as a link to the same file.
 * @returns false when the name is taken
 * @throws UsageError when a copy is not what was read; Error of the system
 */
export async function placeFile(mode: PlaceMode, from: string, to: string): Promise<boolean> {
  const isLink = (await lstat(from)).isSymbolicLink();
  if (mode === "link" || (mode === "move" && isLink)) {
    if (!(await unlessTaken(async () => symlink(await realpath(from), to)))) return false;
    if (mode === "move") await unlink(from);
    return true;
  }
  if (mode === "move") {
    try {
      if (!(await unlessTaken(() => link(from, to)))) return false;
      await unlink(from);
      return true;
    } catch (error) {
      if (!isWithoutLinks(error)) throw error;
    }
  }
  if (!(await copyTo(from, to, mode === "move"))) return false;
  if (mode === "move") await unlink(from);
  return true;
}

/** Whether what lies at `to` is what placing `from` there would give: then it was placed before. */
export async function isPlaced(mode: PlaceMode, from: string, to: string): Promise<boolean> {
  const there = await lstat(to).catch(() => undefined);
  if (there === undefined) return false;
  if (there.isSymbolicLink()) {
    // a link to the very file that is to be moved is no place for it
    const wanted = mode === "link" || (mode === "move" && (await lstat(from)).isSymbolicLink());
    return wanted && (await readlink(to)) === (await realpath(from));
  }
  if (mode === "link" || !there.isFile()) return false;
  const { size } = await stat(from);
  return size === there.size && (await sha256File(from)) === (await sha256File(to));
}

async function copyTo(from: string, to: string, compare: boolean): Promise<boolean> {
  const temporary = temporaryName(to);
  try {
    const { atimeMs, mtimeMs, mode } = await stat(from);
    await copyFile(from, temporary, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL);
    await chmod(temporary, (mode & 0o7777) | 0o200);
    await utimes(temporary, atimeMs / 1000, mtimeMs / 1000);
    if (compare) {
      // a power cut after the original is gone must not take the copy, too
      const copy = await open(temporary, "r+");
      await copy.sync().finally(() => copy.close());
      if ((await sha256File(from)) !== (await sha256File(temporary)))
        throw new UsageError(`${from}: expected a copy that equals it, got another; it stays where it is`);
    }
    return await claim(temporary, to);
  } finally {
    await unlink(temporary).catch(() => undefined);
  }
}

/** Gives a finished file its name, unless that is taken. */
async function claim(temporary: string, to: string): Promise<boolean> {
  try {
    return await unlessTaken(() => link(temporary, to));
  } catch (error) {
    if (!isWithoutLinks(error)) throw error;
  }
  // without hard links: the name is taken with an empty file, which is then replaced
  if (!(await unlessTaken(async () => (await open(to, "wx")).close()))) return false;
  await rename(temporary, to);
  return true;
}

async function unlessTaken(act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
