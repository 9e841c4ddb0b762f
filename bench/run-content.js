/** @file What is in the folder of a run, so that two runs of one plan can be compared byte for byte. */

import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** What differs between two runs of the same plan: times, names of runs. */
const VOLATILE = new Set(["run.json", "report.html"]);

/** The run in a folder of runs: the newest that has begun. */
export async function runIn(out) {
  const names = await readdir(out).catch(() => []);
  for (const name of names.sort().reverse()) {
    const found = await stat(join(out, name, "run.json")).catch(() => undefined);
    if (found !== undefined) return join(out, name);
  }
  return undefined;
}

/** Candidates of a run so far. */
export async function stored(directory) {
  const text = await readFile(join(directory, "candidates.jsonl"), "utf8").catch(() => "");
  return text.split("\n").length - 1;
}

/** Digests of all files of a run by path; the lists of candidates and items as their sorted lines. */
export async function contentOf(directory) {
  const files = new Map();
  const lines = {};
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(directory.length + 1);
    let bytes = await readFile(path);
    if (name.endsWith(".jsonl")) {
      const sorted = bytes.toString("utf8").split("\n").sort();
      lines[name] = sorted.length - 1;
      bytes = sorted.join("\n");
    }
    files.set(name, VOLATILE.has(name) ? "" : createHash("sha256").update(bytes).digest("hex"));
  }
  return { files, candidates: lines["candidates.jsonl"], items: lines["items.jsonl"] };
}

/** What of two runs' files differs, in words. */
export function compare(expected, actual) {
  const differences = [];
  for (const [name, digest] of expected.files) {
    if (!actual.files.has(name)) differences.push(`missing: ${name}`);
    else if (actual.files.get(name) !== digest) differences.push(`differs: ${name}`);
  }
  for (const name of actual.files.keys()) if (!expected.files.has(name)) differences.push(`left behind: ${name}`);
  return differences;
}
