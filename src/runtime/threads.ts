/** @file How many threads a device uses unless told. */

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Physical cores (two threads of one core share its arithmetic), no more than the process may use. */
export function defaultThreads(): number {
  const available = availableParallelism();
  try {
    const cores = new Set<string>();
    for (const block of readFileSync("/proc/cpuinfo", "utf8").split("\n\n")) {
      const [socket, core] = [/^physical id\s*: (\d+)/m, /^core id\s*: (\d+)/m].map((field) => field.exec(block)?.[1]);
      if (core !== undefined) cores.add(`${socket}/${core}`);
    }
    return cores.size === 0 ? available : Math.min(cores.size, available);
  } catch {
    // Not Linux: take what the system offers.
    return available;
  }
}
