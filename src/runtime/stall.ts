/** @file Noticing a process that does nothing although it was asked: stopped, or waiting for what never comes. */

import { readFileSync } from "node:fs";

/** Looks this often. */
const TICK_MS = 500;
/** A share of the processor below which a process counts as idle: one that waits takes none, one that reads a slow disk takes more. */
const IDLE_SHARE = 0.002;
/** The kernel counts processor time in hundredths of a second. */
const CLOCK_MS = 10;

/**
 * Calls `onStall` when process `pid` took no processor time for `limitMs`; returns what ends the watch. Only where the kernel tells (Linux);
 * elsewhere nothing is noticed. Time during which this process did not run either, as when both were suspended, does not count.
 */
export function watchForStall(pid: number, limitMs: number, onStall: () => void): () => void {
  let used = cpuMs(pid);
  if (used === undefined) return () => undefined;
  let [idleMs, last] = [0, performance.now()];
  const timer = setInterval(() => {
    const [now, usedNow] = [performance.now(), cpuMs(pid)];
    const elapsed = Math.min(now - last, 2 * TICK_MS);
    last = now;
    if (usedNow === undefined || used === undefined) return;
    idleMs += elapsed;
    if (usedNow - used > Math.max(CLOCK_MS, idleMs * IDLE_SHARE)) [idleMs, used] = [0, usedNow];
    if (idleMs >= limitMs) onStall();
  }, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Processor time a process has taken, in milliseconds; undefined where that cannot be read. */
function cpuMs(pid: number): number | undefined {
  try {
    // The name before the last ")" may hold anything. Behind it: state, then 10 numbers, then user and system time.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    const ticks = Number(fields[11]) + Number(fields[12]);
    return Number.isFinite(ticks) ? ticks * CLOCK_MS : undefined;
  } catch {
    return undefined;
  }
}
