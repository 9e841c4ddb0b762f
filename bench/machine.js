/** @file What the machine and its processes are doing: load, memory, page cache. Linux; elsewhere the figures are null. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";

/** Of the kernel's clock, a second. */
const TICKS = 100;
const STATUS = { peakRss: "VmHWM", rss: "VmRSS", anonymous: "RssAnon", mapped: "RssFile" };

/**
 * Memory of a process in MB: `peakRss` (the most it ever held), `rss` now, and its two parts: `anonymous` memory of its own, and
 * `mapped` pages of files, which the system takes back when it needs them.
 */
export function memoryOf(pid) {
  const fields = Object.entries(STATUS);
  let text;
  try {
    text = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return Object.fromEntries(fields.map(([name]) => [name, null]));
  }
  const megabytes = (field) =>
    Math.round((Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024) / 1e6);
  return Object.fromEntries(fields.map(([name, field]) => [name, megabytes(field)]));
}

/** Processor time of a process, all threads, in seconds. */
export function processorSeconds(pid) {
  try {
    const [user, system] = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ").slice(11, 13);
    return (Number(user) + Number(system)) / TICKS;
  } catch {
    return null;
  }
}

/** Bytes a process has had read from storage. */
export function bytesRead(pid) {
  try {
    return Number(/^read_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))[1]);
  } catch {
    return null;
  }
}

/** Asks the system to forget the cached pages of a file; false where that cannot be asked. */
export function dropFromCache(path) {
  return spawnSync("dd", [`if=${path}`, "iflag=nocache", "count=0"], { stdio: "ignore" }).status === 0;
}

/** For a figure's reader to judge by: processor, cores, and the processes that wanted to run over the last minute, the bench's own among them. */
export function machine() {
  return { processor: cpus()[0]?.model.trim(), cores: cpus().length, loadAverage: Number(loadavg()[0].toFixed(2)) };
}
