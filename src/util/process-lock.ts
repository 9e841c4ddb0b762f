/** @file A lock file that names the process which holds it, and that a dead holder cannot keep. */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { constants, copyFile, link, readdir, readFile, rename, stat, unlink, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** How long a lock that names nobody is given to be written. */
const HALF_WRITTEN_MS = 100;
/** A token becomes part of a file's name. */
const TOKEN = /^[\w-]{1,64}$/;

/** Who holds a lock. */
export interface Holder {
  readonly pid: number;
  readonly host: string;
  /** The kernel's start time of the process where it can be read: a reused pid is then told from the holder. */
  readonly started: string | null;
  readonly token: string;
}

/** Who holds a lock, in words. */
export function holderInWords(holder: Pick<Holder, "pid" | "host"> | undefined): string {
  return holder === undefined ? "another" : `process ${holder.pid} on ${holder.host}`;
}

/** A lock that is held. */
export interface ProcessLock {
  /** Gives the lock back; a lock that was taken over meanwhile is left alone. */
  release(): Promise<void>;
}

/** How a lock is judged. */
export interface LockOptions {
  /**
   * Milliseconds after which a lock of another machine that nobody has touched counts as left behind. @default never: a process of another machine
   * cannot be asked, and is believed
   */
  readonly staleMs?: number | undefined;
}

/** A lock, or who holds it; undefined for both when others were faster each time. */
export interface LockAttempt {
  readonly lock: ProcessLock | undefined;
  readonly holder: Holder | undefined;
}

/** Takes the lock at `path` if no living process holds it. The file appears by a hard link where there are such, so it is never seen half written. */
export async function tryLock(path: string, options: LockOptions = {}): Promise<LockAttempt> {
  const own: Holder = {
    pid: process.pid,
    host: hostname(),
    started: processStart(process.pid),
    token: randomBytes(8).toString("hex"),
  };
  const prepared = `${path}.${own.token}.new`;
  try {
    await writeFile(prepared, `${JSON.stringify(own)}\n`, { flag: "wx" });
    const outcome = await take(path, prepared, options);
    if (outcome !== "taken") return { lock: undefined, holder: outcome };
    await removeLeftovers(path, options);
    return { lock: { release: () => release(path, own) }, holder: undefined };
  } finally {
    // missing where it could not be written
    await unlink(prepared).catch(() => undefined);
  }
}

/** Whether a living process holds the lock at `path`. */
export async function isLocked(path: string, options: LockOptions = {}): Promise<boolean> {
  const holder = await readHolder(path);
  return holder !== undefined && (await isAlive(path, holder, options));
}

/**
 * Makes `path` a link to `prepared`. The right to replace a dead holder's file is itself such a lock, named after that holder: whoever has it
 * looks again and then renames it into place, so that the file is never absent and a living holder's is never touched.
 */
async function take(path: string, prepared: string, options: LockOptions): Promise<"taken" | Holder | undefined> {
  for (let attempt = 0; attempt < 5; attempt++) {
    if (await linked(prepared, path)) return "taken";
    let current = await readHolder(path);
    if (current?.token === "") {
      await delay(HALF_WRITTEN_MS);
      current = await readHolder(path);
    }
    if (current === undefined) continue;
    if (await isAlive(path, current, options)) return current;
    const claim = `${path}.${current.token === "" ? "torn" : current.token}`;
    const claimed = await take(claim, prepared, options);
    if (claimed !== "taken") return claimed;
    if ((await readHolder(path))?.token === current.token) {
      await rename(claim, path);
      return "taken";
    }
    await unlink(claim);
  }
  return undefined;
}

/** Files that processes killed while they took the lock have left. */
async function removeLeftovers(path: string, options: LockOptions): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder)) {
    if (!name.startsWith(`${basename(path)}.`)) continue;
    const file = join(folder, name);
    const holder = await readHolder(file);
    // one without a pid may be about to be written
    if (holder !== undefined && holder.pid > 0 && !(await isAlive(file, holder, options)))
      await unlink(file).catch(() => undefined);
  }
}

/** Gives a file its second name, unless that is taken. Without hard links, as on memory sticks, it is a copy, which others may see half written. */
async function linked(from: string, to: string): Promise<boolean> {
  const copied = (error: unknown): Promise<void> => {
    if (!isWithoutLinks(error)) throw error;
    return copyFile(from, to, constants.COPYFILE_EXCL);
  };
  try {
    await link(from, to).catch(copied);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** True for the error of a file system that has no hard links, or none to another disk. */
export function isWithoutLinks(error: unknown): boolean {
  return ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK", "EXDEV"].includes(
    (error as NodeJS.ErrnoException).code ?? "",
  );
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

async function isAlive(path: string, holder: Holder, { staleMs }: LockOptions): Promise<boolean> {
  if (holder.host !== hostname()) {
    const touched = staleMs === undefined ? undefined : await stat(path).catch(() => undefined);
    return touched === undefined || Date.now() - touched.mtimeMs < (staleMs ?? Infinity);
  }
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
