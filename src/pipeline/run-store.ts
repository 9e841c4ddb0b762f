/** @file A run on disk: its folder, its manifest, its append-only list of candidates, and its images. */

import { stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Candidate, ScoreDetails, SearchEvent } from "../strategies/contract.js";
import { writeFileAtomic } from "../util/files.js";
import { type CandidateLine, candidateLineSchema, candidateRecord, sourcesOf } from "./candidate-record.js";
import { CANDIDATES_FILE, CandidateStore, type StoreOptions } from "./candidate-store.js";
import { type RunInputs, writeInputs } from "./inputs.js";
import { lockRun, type RunLock } from "./lock.js";
import type { FileRecord, ModelRecords, RunConfig, RunManifest, RunRequest } from "./manifest.js";
import { NO_TIME, readManifest } from "./manifest.js";
import { type CandidateList, readCandidates, recoverCandidates, removeTemporaryFiles } from "./recover.js";
import { makeRunDirectory } from "./run-directory.js";
import { SEARCH_FILE, SearchTrace } from "./search-trace.js";
import { changedVersions, runtimeVersions } from "./versions.js";

/** Names of the files in a run's folder. */
export const RUN_FILES = {
  manifest: "run.json",
  candidates: CANDIDATES_FILE,
  search: SEARCH_FILE,
  images: "images",
  grid: "grid.png",
  report: "report.html",
} as const;

/** What a new run is made of. */
export interface NewRun {
  readonly request: RunRequest;
  readonly config: RunConfig;
  /** Kept in the run's folder. @default none */
  readonly inputs?: RunInputs | undefined;
  readonly models: ModelRecords;
  readonly warnings: readonly string[];
  /** The embeddings of the config. @default none */
  readonly embeddings?: readonly FileRecord[] | undefined;
  /** The LoRAs of the config, in its order. @default none */
  readonly loras?: readonly FileRecord[] | undefined;
  /** @default new Date() */
  readonly createdAt?: Date | undefined;
}

/** A run as it is on disk, for reading. */
export interface RunSnapshot {
  /** Absolute. */
  readonly directory: string;
  readonly manifest: RunManifest;
  /** Sorted by index. */
  readonly candidates: readonly CandidateLine[];
}

/** Makes the folder of a new run under `parent` and takes its lock. @throws UsageError when `parent` cannot be written. */
export async function createRun(parent: string, run: NewRun, options: StoreOptions = {}): Promise<Run> {
  const createdAt = run.createdAt ?? new Date();
  const { runId, directory } = await makeRunDirectory(resolve(parent), createdAt, run.config.prompt);
  const manifest: RunManifest = {
    schemaVersion: 1,
    runId,
    status: "running",
    createdAt: createdAt.toISOString(),
    finishedAt: null,
    sessions: 0,
    request: run.request,
    config: run.config,
    inputs: await writeInputs(directory, run.inputs ?? {}, { durable: options.durable ?? false }),
    embeddings: [...(run.embeddings ?? [])],
    loras: [...(run.loras ?? [])],
    seeds: { first: run.config.seed, last: run.config.seed + run.config.count - 1 },
    models: run.models,
    versions: runtimeVersions(),
    timings: NO_TIME,
    evaluations: 0,
    stop: null,
    ranking: [],
    kept: null,
    warnings: [...new Set(run.warnings)],
    error: null,
  };
  const created = await Run.start(directory, manifest, [], options, await lockRun(directory));
  await created.update({});
  return created;
}

/** Takes up a run that exists: locks it and sets right what a kill left behind. @throws UsageError when it is none, or in use. */
export async function openRun(path: string, options: StoreOptions = {}): Promise<Run> {
  const { directory } = await locateRun(path);
  // Read before the lock is taken, so that a folder that is no run gets no lock file.
  await readManifest(join(directory, RUN_FILES.manifest));
  const lock = await lockRun(directory);
  try {
    const manifest = await readManifest(join(directory, RUN_FILES.manifest));
    const candidates: CandidateLine[] = [];
    await recoverCandidates(listOf(directory, manifest.config), (line) => candidates.push(line));
    await removeTemporaryFiles(directory);
    const warnings = [...new Set([...manifest.warnings, ...changedVersions(manifest.versions)])];
    return await Run.start(directory, { ...manifest, warnings }, candidates, options, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Reads a run without taking it up; it may be running. @throws UsageError when there is none. */
export async function readRun(path: string): Promise<RunSnapshot> {
  const { directory, manifest: manifestPath } = await locateRun(path);
  const manifest = await readManifest(manifestPath);
  const candidates: CandidateLine[] = [];
  for await (const line of readCandidates(listOf(directory, manifest.config))) candidates.push(line);
  return { directory, manifest, candidates: byIndex(candidates) };
}

function listOf(directory: string, { count, seed, strategy }: RunConfig): CandidateList<CandidateLine> {
  return {
    directory,
    file: RUN_FILES.candidates,
    schema: candidateLineSchema,
    // a search begins more pictures than it finishes, and makes pictures of pictures
    accepts: (line) => strategy.name !== "best-of-n" || (line.index < count && line.seed === seed + line.index),
  };
}

/** A run may be named by its folder or by its manifest. */
export async function locateRun(path: string): Promise<{ readonly directory: string; readonly manifest: string }> {
  const absolute = resolve(path);
  const found = await stat(absolute).catch(() => undefined);
  if (found?.isDirectory() === false) return { directory: dirname(absolute), manifest: absolute };
  return { directory: absolute, manifest: join(absolute, RUN_FILES.manifest) };
}

/** A run that this process works on. Writes are in order: image, line, then the next candidate. */
export class Run {
  readonly #candidates = new Map<number, CandidateLine>();
  #closed = false;

  private constructor(
    /** Absolute. */
    readonly directory: string,
    private current: RunManifest,
    candidates: readonly CandidateLine[],
    private readonly durable: boolean,
    private readonly lock: RunLock,
    private readonly store: CandidateStore,
    private readonly trace: SearchTrace,
  ) {
    for (const line of candidates) this.#candidates.set(line.index, line);
  }

  /** Use createRun or openRun. @internal */
  static async start(
    directory: string,
    manifest: RunManifest,
    candidates: readonly CandidateLine[],
    options: StoreOptions,
    lock: RunLock,
  ): Promise<Run> {
    const store = await CandidateStore.open(directory, options);
    const trace = new SearchTrace(directory, options);
    return new Run(directory, manifest, candidates, options.durable ?? false, lock, store, trace);
  }

  /** The manifest as last written. */
  get manifest(): RunManifest {
    return this.current;
  }

  /** Finished candidates, sorted by index. */
  get candidates(): readonly CandidateLine[] {
    return byIndex(this.#candidates.values());
  }

  /** How many candidates are finished. */
  get size(): number {
    return this.#candidates.size;
  }

  /** Stores a scored candidate: the image under a temporary name, renamed, then its line. Returns the line. */
  async append(candidate: Candidate, score: number | null, details?: ScoreDetails): Promise<CandidateLine> {
    const { prompt, rewardPrompt } = this.current.config;
    const made = candidateRecord(candidate, { score, ...details }, sourcesOf(this.current), this.current);
    // a strategy may draw other prompts; scores are against the one that was asked for
    const record = candidate.prompt === prompt ? made : { ...made, rewardPrompt: rewardPrompt ?? prompt };
    const line = await this.store.append(record, candidate.image);
    this.#candidates.set(line.index, line);
    return line;
  }

  /** Begins to keep what a search does, in place of what an earlier session kept. */
  beginSearch(): Promise<void> {
    return this.trace.begin();
  }

  /** Keeps what a search did. */
  keepSearch(event: SearchEvent): Promise<void> {
    return this.trace.append(event);
  }

  /** Changes the manifest; readers see the old one or the new one. */
  async update(change: Partial<RunManifest>): Promise<void> {
    this.current = { ...this.current, ...change };
    const text = `${JSON.stringify(this.current, null, 2)}\n`;
    await writeFileAtomic(join(this.directory, RUN_FILES.manifest), text, { durable: this.durable });
  }

  /** The run as it is now. */
  snapshot(): RunSnapshot {
    return { directory: this.directory, manifest: this.current, candidates: this.candidates };
  }

  /** Closes the files and gives the lock back; the second time, does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.store.close();
    await this.trace.close();
    await this.lock.release();
  }
}

function byIndex(lines: Iterable<CandidateLine>): CandidateLine[] {
  return [...lines].sort((a, b) => a.index - b.index);
}
