/** @file One process per run: a lock file that names its holder, and that a dead holder cannot keep. */

import { join } from "node:path";
import { UsageError } from "../errors.js";
import { holderInWords, isLocked, type ProcessLock, tryLock } from "../util/process-lock.js";

/** Name of the lock file in a run's folder. */
export const LOCK_FILE = "run.lock";

/** A lock that is held. */
export type RunLock = ProcessLock;

/** Takes the lock of `directory`. @throws UsageError when a living process holds it */
export async function lockRun(directory: string): Promise<RunLock> {
  const { lock, holder } = await tryLock(join(directory, LOCK_FILE));
  if (lock !== undefined) return lock;
  throw new UsageError(
    holder === undefined
      ? `${directory}: expected to get the lock of the run, got outpaced by other processes`
      : `${directory}: expected a run that no process works on, got one held by ${holderInWords(holder)}`,
  );
}

/** Whether a living process works on the run in `directory`. */
export async function isRunInUse(directory: string): Promise<boolean> {
  return isLocked(join(directory, LOCK_FILE));
}
