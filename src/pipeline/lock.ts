/** @file One process per run: a lock file that names its holder, and that a dead holder cannot keep. */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readdir, readFile, rename, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { UsageError } from "../errors.js";

/** Name of the lock file in a run's folder. */
export const LOCK_FILE = "run.lock";

/** A token becomes part of a file's name. */
const TOKEN = /^[\w-]{1,64}$/;

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** The kernel's start time of the process where it can be read: a reused pid is then told from the holder. */
  readonly started: string | null;
  readonly token: string;
}

/** A lock that is held. */
export interface RunLock {
  /** Gives the lock back; a lock that was taken over meanwhile is left alone. */
  release(): Promise<void>;
}

/**
 * Takes the lock of `directory`. The file appears by a hard link, so it is never seen half written.
 * @throws UsageError when a living process holds it.
 */
export async function lockRun(directory: string): Promise<RunLock> {
  const path = join(directory, LOCK_FILE);
  const holder: Holder = {
    pid: process.pid,
    host: hostname(),
    started: processStart(process.pid),
    token: randomBytes(8).toString("hex"),
  };
  const prepared = `${path}.${holder.token}.new`;
  await writeFile(prepared, `${JSON.stringify(holder)}\n`, { flag: "wx" });
  try {
    await take(path, prepared, directory);
    await removeLeftovers(directory);
    return { release: () => release(path, holder) };
  } finally {
    await unlink(prepared);
  }
}

/** Whether a living process works on the run in `directory`. */
export async function isRunInUse(directory: string): Promise<boolean> {
  const holder = await readHolder(join(directory, LOCK_FILE));
  return holder !== undefined && isAlive(holder);
}

/**
 * Makes `path` a link to `prepared`. The right to replace a dead holder's file is itself such a lock, named after that holder: whoever has it
 * looks again and then renames it into place, so that the file is never absent and a living holder's is never touched.
 */
async function take(path: string, prepared: string, directory: string): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    if (await linked(prepared, path)) return;
    const current = await readHolder(path);
    if (current === undefined) continue;
    if (isAlive(current)) {
      throw new UsageError(
        `${directory}: expected a run that no process works on, got one held by process ${current.pid} on ${current.host}`,
      );
    }
    const claim = `${path}.${current.token === "" ? "torn" : current.token}`;
    await take(claim, prepared, directory);
    if ((await readHolder(path))?.token === current.token) return rename(claim, path);
    await unlink(claim);
  }
  throw new UsageError(`${directory}: expected to get the lock of the run, got outpaced by other processes`);
}

/** Files that processes killed while they took the lock have left. */
async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(`${LOCK_FILE}.`)) continue;
    const holder = await readHolder(join(directory, name));
    // one without a pid may be about to be written
    if (holder !== undefined && holder.pid > 0 && !isAlive(holder))
      await unlink(join(directory, name)).catch(() => undefined);
  }
}

async function linked(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

async function release(path: string, holder: Holder): Promise<void> {
  if ((await readHolder(path))?.token === holder.token) await unlink(path);
}

/** The holder a lock file names; undefined when there is none. A file that is not a lock counts as held by a process long gone. */
async function readHolder(path: string): Promise<Holder | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const parsed = JSON.parse(text) as Partial<Holder>;
    if (
      typeof parsed.pid === "number" &&
      typeof parsed.host === "string" &&
      typeof parsed.token === "string" &&
      TOKEN.test(parsed.token)
    ) {
      return { pid: parsed.pid, host: parsed.host, started: parsed.started ?? null, token: parsed.token };
    }
  } catch {
    // Torn by a power cut: nobody can hold it.
  }
  return { pid: 0, host: hostname(), started: null, token: "" };
}

function isAlive(holder: Holder): boolean {
  // A process of another machine cannot be asked; it is believed.
  if (holder.host !== hostname()) return true;
  if (holder.pid <= 0) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const started = processStart(holder.pid);
  return holder.started === null || started === null || started === holder.started;
}

/** Field 22 of /proc/<pid>/stat (clock ticks since boot); null on other systems. */
function processStart(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
