/** @file The runs in a folder of runs: listed, and removed. A folder that is damaged is listed with what is wrong, and can be removed. */

import { lstat, opendir, readdir, rm, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { UsageError } from "../errors.js";
import { type AnyRun, candidatesOf, readAnyRun } from "../pipeline/any-run.js";
import { ItemLines } from "../pipeline/execute/recover.js";
import { isRunInUse, lockRun, type RunLock } from "../pipeline/lock.js";
import { RUN_FILES } from "../pipeline/run-store.js";
import { isTrainRun, readTrainManifest, TRAINING_FILES, type TrainRunManifest } from "./train-run.js";

/** A run as a list shows it. */
export interface RunEntry {
  readonly id: string;
  /** Absolute. */
  readonly directory: string;
  /** Null for a folder whose run cannot be read. */
  readonly kind: AnyRun["kind"] | "training" | null;
  /** As the manifest says, but `interrupted` for a run that says it is running while no process works on it, `broken` for one that cannot be read. */
  readonly status: AnyRun["manifest"]["status"] | TrainRunManifest["status"] | "interrupted" | "broken";
  /** The prompt, or the pipeline's name. */
  readonly title: string;
  /** ISO 8601. */
  readonly createdAt: string;
  readonly items: { readonly total: number; readonly finished: number } | null;
  readonly candidates: number;
  /** The highest score. */
  readonly best: number | null;
  /** Of all its files. */
  readonly bytes: number;
  /** What is wrong with it. */
  readonly problem: string | null;
}

/** `20261122-183301[-words]-9f3a`, see makeRunDirectory. */
const RUN_NAME = /^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)(-[a-z0-9-]+)?-[0-9a-f]{4}$/;

/** The runs under `parent`, the newest last. Other folders are left out. @throws UsageError when it cannot be read */
export async function listRuns(parent: string): Promise<RunEntry[]> {
  const folder = resolve(parent);
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    const actual = cause.code === "ENOENT" ? "no such folder" : String(cause.code ?? cause);
    throw new UsageError(`${folder}: expected a folder of runs, got ${actual}`, { cause });
  });
  const runs: RunEntry[] = [];
  for (const entry of entries) {
    const directory = join(folder, entry.name);
    if (entry.isDirectory() && (await looksLikeRun(directory))) runs.push(await describeRun(directory));
  }
  return runs.sort((a, b) => (a.createdAt < b.createdAt ? -1 : a.createdAt > b.createdAt ? 1 : 0));
}

async function looksLikeRun(directory: string): Promise<boolean> {
  if (RUN_NAME.test(basename(directory)) || isTrainRun(directory)) return true;
  return (await stat(join(directory, RUN_FILES.manifest)).catch(() => undefined))?.isFile() === true;
}

/** One run, or what is left of one. */
export async function describeRun(directory: string): Promise<RunEntry> {
  const bytes = await sizeOf(directory);
  const id = basename(directory);
  let run: AnyRun;
  try {
    if (isTrainRun(directory)) return await describeTraining(directory, bytes);
    run = await readAnyRun(directory);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const plain = { items: null, candidates: 0, best: null, bytes, problem: error.message };
    return { id, directory, kind: null, status: "broken", title: "", createdAt: await ageOf(directory), ...plain };
  }
  const { manifest, kind } = run;
  const stopped = manifest.status === "running" && !(await isRunInUse(directory));
  const status: RunEntry["status"] = stopped ? "interrupted" : manifest.status;
  const facts = { id, directory, kind, status, createdAt: manifest.createdAt, bytes, problem: null };
  if (run.kind === "pipeline") {
    const { name, items, candidates } = run.manifest;
    return { ...facts, title: name, items, candidates, best: await bestOfItems(directory) };
  }
  let [candidates, best] = [0, null as number | null];
  for await (const { line } of candidatesOf(run)) {
    candidates++;
    best = larger(best, line.score);
  }
  return { ...facts, title: run.manifest.config.prompt, items: null, candidates, best };
}

/** A training; what it drew are no candidates. */
async function describeTraining(directory: string, bytes: number): Promise<RunEntry> {
  const { method, status: said, startedAt, step, steps } = await readTrainManifest(join(directory, TRAINING_FILES.manifest)); // prettier-ignore
  const status = said === "running" && !(await isRunInUse(directory)) ? "interrupted" : said;
  const title = `${method}, ${step} of ${steps} updates`;
  const none = { items: null, candidates: 0, best: null, problem: null };
  return { id: basename(directory), directory, kind: "training", status, title, createdAt: startedAt, bytes, ...none };
}

async function bestOfItems(directory: string): Promise<number | null> {
  const lines = await ItemLines.open(directory);
  let best: number | null = null;
  for await (const line of lines) best = larger(best, line.best?.score ?? null);
  await lines.close();
  return best;
}

function larger(one: number | null, other: number | null): number | null {
  return one === null || other === null ? (one ?? other) : Math.max(one, other);
}

async function ageOf(directory: string): Promise<string> {
  const [, year, month, day, hour, minute, second] = RUN_NAME.exec(basename(directory)) ?? [];
  if (second !== undefined) return `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  return (await stat(directory)).mtime.toISOString();
}

async function sizeOf(directory: string): Promise<number> {
  let bytes = 0;
  for await (const entry of await opendir(directory, { bufferSize: 1024 })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) bytes += await sizeOf(path);
    else bytes += (await lstat(path).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}

/**
 * Finds a run by its folder, its run.json, or its name in the folder `parent`.
 * @throws UsageError when there is none; a damaged run is found
 */
export async function findRun(parent: string, name: string): Promise<string> {
  for (const path of [resolve(name), join(resolve(parent), name)]) {
    const found = await lstat(path).catch(() => undefined);
    if (found?.isFile() === true && basename(path) === RUN_FILES.manifest) return resolve(path, "..");
    if (found?.isDirectory() === true && (await looksLikeRun(path))) return path;
  }
  throw new UsageError(`${name}: expected a run, or the name of one in ${resolve(parent)}, got none`);
}

/** Removes runs with all their files. @throws UsageError when a process works on one of them; then none is removed */
export async function removeRuns(directories: readonly string[]): Promise<void> {
  const locks: RunLock[] = [];
  try {
    for (const directory of new Set(directories)) locks.push(await lockRun(directory));
  } catch (error) {
    for (const lock of locks) await lock.release();
    throw error;
  }
  for (const directory of new Set(directories)) await rm(directory, { recursive: true, force: true });
}
