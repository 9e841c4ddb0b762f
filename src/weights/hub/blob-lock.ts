/** @file One process fetches a blob; others wait for it. Where a file system has no hard links, all fetch, each to a file of its own. */

import { mkdir, utimes } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CancelledError } from "../../errors.js";
import { isLocked, type LockAttempt, type ProcessLock, tryLock } from "../../util/process-lock.js";

/** Milliseconds between two looks at a lock that another process holds. */
const POLL_MS = 200;
/** Milliseconds between two signs of life, for processes of other machines that share the cache. */
const TOUCH_MS = 10_000;
const OPTIONS = { staleMs: 6 * TOUCH_MS };

/** Waits for the lock at `path`, then does `work`; `held` is false where there can be no lock. @throws CancelledError while waiting */
export async function withBlobLock<T>(
  path: string,
  signal: AbortSignal | undefined,
  work: (held: boolean) => Promise<T>,
): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  const lock = await waitForLock(path, signal);
  const beat = lock === undefined ? undefined : setInterval(() => void touch(path), TOUCH_MS);
  beat?.unref();
  try {
    return await work(lock !== undefined);
  } finally {
    clearInterval(beat);
    await lock?.release();
  }
}

/** True while a living process fetches the blob. */
export function isBlobLocked(path: string): Promise<boolean> {
  return isLocked(path, OPTIONS);
}

async function waitForLock(path: string, signal: AbortSignal | undefined): Promise<ProcessLock | undefined> {
  for (;;) {
    if (signal?.aborted === true) throw new CancelledError("the download was cancelled", { cause: signal.reason });
    const attempt = await tryLock(path, OPTIONS).catch((error: NodeJS.ErrnoException): LockAttempt | undefined => {
      if (["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"].includes(error.code ?? "")) return undefined;
      throw error;
    });
    if (attempt === undefined) return undefined;
    if (attempt.lock !== undefined) return attempt.lock;
    await sleep(POLL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  }
}

async function touch(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => undefined);
}
