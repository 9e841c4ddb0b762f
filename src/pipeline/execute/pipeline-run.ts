/** @file A pipeline's run on disk: its plan, its manifest, its candidates, its finished items. Memory holds what unfinished items need. */

import { randomInt } from "node:crypto";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { MAX_SEED } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import type { Candidate, ScoreDetails } from "../../strategies/contract.js";
import { writeFileAtomic } from "../../util/files.js";
import { parseJson, readText } from "../../util/read-file.js";
import { redact } from "../../util/secret.js";
import { candidateRecord, type MadeFrom, sourcesOf } from "../candidate-record.js";
import { CandidateStore, type StoreOptions } from "../candidate-store.js";
import type { PipelinePlan } from "../document/plan.js";
import { documentSchema } from "../document/schema.js";
import { lockRun, type RunLock } from "../lock.js";
import { makeRunDirectory } from "../run-directory.js";
import { locateRun, RUN_FILES } from "../run-store.js";
import { changedVersions, runtimeVersions } from "../versions.js";
import {
  type ItemLine,
  PIPELINE_FILES,
  pipelineManifestSchema,
  type PipelineManifest,
  type PlacedCandidate,
} from "./manifest.js";
import { type RecordedCandidate, type Recovered, recoverPipeline } from "./recover.js";

/** Largest plan that is read back. */
const MAXIMUM_PLAN_BYTES = 1 << 30;

/** Makes a run's folder under `parent` and takes its lock. @throws UsageError when `parent` cannot be written */
export async function createPipelineRun(
  parent: string,
  plan: PipelinePlan,
  models: PipelineManifest["models"],
  options: StoreOptions = {},
): Promise<PipelineRun> {
  const perItem = plan.seeds === "shared" ? plan.candidatesPerItem : plan.items.length * plan.candidatesPerItem;
  const highest = MAX_SEED - perItem;
  if (highest < 0)
    throw new UsageError(
      `${plan.file}: seeds: expected at most ${MAX_SEED} candidates with a seed each, got ${perItem}`,
    );
  if (plan.seed !== null && plan.seed > highest) {
    throw new UsageError(
      `${plan.file}: seed: expected at most ${highest}, so that every candidate has a seed, got ${plan.seed}`,
    );
  }
  const createdAt = new Date();
  const { runId, directory } = await makeRunDirectory(resolve(parent), createdAt, plan.name);
  const lock = await lockRun(directory);
  const manifest: PipelineManifest = {
    schemaVersion: 1,
    kind: "pipeline",
    runId,
    name: plan.name,
    file: plan.file,
    status: "running",
    createdAt: createdAt.toISOString(),
    finishedAt: null,
    sessions: 0,
    planDigest: plan.digest,
    seed: plan.seed ?? randomInt(0, highest + 1),
    items: { total: plan.items.length, finished: 0, failed: 0 },
    candidates: 0,
    evaluations: 0,
    models,
    versions: runtimeVersions(),
    totalMs: 0,
    warnings: [],
    error: null,
  };
  await writeFileAtomic(join(directory, PIPELINE_FILES.plan), `${JSON.stringify(plan)}\n`, {
    durable: options.durable ?? false,
  });
  const none: Recovered = { finished: new Set(), recorded: new Map(), candidates: 0, evaluations: 0 };
  const run = await PipelineRun.start(directory, plan, manifest, none, lock, options);
  await run.update({});
  return run;
}

/** Takes up a run that exists. @throws UsageError when it is none, damaged, or in use */
export async function openPipelineRun(path: string, options: StoreOptions = {}): Promise<PipelineRun> {
  const { directory } = await locateRun(path);
  await readPipelineManifest(directory);
  const lock = await lockRun(directory);
  try {
    const manifest = await readPipelineManifest(directory);
    const plan = await readPlan(directory, manifest);
    const warnings = [...new Set([...manifest.warnings, ...changedVersions(manifest.versions)])];
    return await PipelineRun.start(
      directory,
      plan,
      { ...manifest, warnings },
      await recoverPipeline(directory, plan),
      lock,
      options,
    );
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Reads the run.json of a pipeline. @throws UsageError naming what is wrong */
export async function readPipelineManifest(directory: string): Promise<PipelineManifest> {
  const path = join(directory, RUN_FILES.manifest);
  const json = parseJson(await readText(path, { expected: "the run.json of a run", as: UsageError }), path, UsageError);
  return checked(pipelineManifestSchema, json, path, "the manifest of a pipeline's run (schema version 1)");
}

/** Reads the plan of a run. @throws UsageError when it is missing or not the one the run began with */
export async function readPlan(directory: string, manifest: PipelineManifest): Promise<PipelinePlan> {
  const path = join(directory, PIPELINE_FILES.plan);
  const options = { expected: "the plan of a run", limit: MAXIMUM_PLAN_BYTES, as: UsageError };
  const json = parseJson(await readText(path, options), path, UsageError);
  const facts = z.looseObject({
    digest: z.string(),
    items: z.array(z.looseObject({})),
    steps: z.array(z.looseObject({})),
    files: z.array(z.looseObject({})),
    document: documentSchema,
  });
  const { digest } = checked(facts, json, path, "the plan of a run");
  if (digest !== manifest.planDigest)
    throw new UsageError(
      `${path}: expected the plan the run began with (${manifest.planDigest.slice(0, 12)}), got another (${digest.slice(0, 12)})`,
    );
  // written by createPipelineRun and told by its digest
  return json as PipelinePlan;
}

function checked<T>(schema: z.ZodType<T>, json: unknown, path: string, what: string): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "document"}: ${issue.message}`);
  throw new UsageError(`${path}: expected ${what}, got ${faults.join("; ")}`);
}

/** A run that this process works on. */
export class PipelineRun {
  readonly #lock: RunLock;
  readonly #store: CandidateStore;
  readonly #items: FileHandle;
  readonly #finished: Set<number>;
  readonly #recorded: Map<number, readonly RecordedCandidate[]>;
  readonly #durable: boolean;
  #manifest: PipelineManifest;
  /** Ends when the last line of an item, or the last manifest, is written: they go one after the other. */
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(
    /** Absolute. */
    readonly directory: string,
    readonly plan: PipelinePlan,
    manifest: PipelineManifest,
    recovered: Recovered,
    lock: RunLock,
    store: CandidateStore,
    items: FileHandle,
    durable: boolean,
  ) {
    this.#durable = durable;
    this.#lock = lock;
    this.#store = store;
    this.#items = items;
    this.#finished = new Set(recovered.finished);
    this.#recorded = new Map(recovered.recorded);
    const { candidates, evaluations } = recovered;
    this.#manifest = {
      ...manifest,
      candidates,
      evaluations,
      items: { ...manifest.items, finished: recovered.finished.size, failed: 0 },
    };
  }

  /** Use createPipelineRun or openPipelineRun. @internal */
  static async start(
    directory: string,
    plan: PipelinePlan,
    manifest: PipelineManifest,
    recovered: Recovered,
    lock: RunLock,
    options: StoreOptions,
  ): Promise<PipelineRun> {
    const store = await CandidateStore.open(directory, options);
    const items = await open(join(directory, PIPELINE_FILES.items), "a");
    return new PipelineRun(directory, plan, manifest, recovered, lock, store, items, options.durable ?? false);
  }

  /** As it stands; on disk it is as of the last update. */
  get manifest(): PipelineManifest {
    return this.#manifest;
  }

  /** True when nothing is left to do for an item. */
  isFinished(item: number): boolean {
    return this.#finished.has(item);
  }

  /** What an unfinished item had when the run was opened. */
  recorded(item: number): readonly RecordedCandidate[] {
    return this.#recorded.get(item) ?? [];
  }

  /** Seed of an item's first candidate. */
  seedOf(item: number): number {
    return this.#manifest.seed + (this.plan.seeds === "shared" ? 0 : item * this.plan.candidatesPerItem);
  }

  /** Stores a candidate, whose index is that in the run. @param from the files of the plan it was made from */
  async append(
    candidate: Candidate,
    judged: { readonly score: number | null } & ScoreDetails,
    extra: { item: string; step: number },
    from: MadeFrom,
  ): Promise<PlacedCandidate> {
    const record = candidateRecord(candidate, judged, sourcesOf(this.#manifest), from);
    const { index, seed, image, evaluations } = await this.#store.append(record, candidate.image, extra);
    this.#manifest = {
      ...this.#manifest,
      candidates: this.#manifest.candidates + 1,
      evaluations: this.#manifest.evaluations + evaluations,
    };
    return { index, seed, score: judged.score, image, evaluations };
  }

  /** Records that an item went through all steps, or failed. */
  async finishItem(line: ItemLine): Promise<void> {
    await this.#inTurn(async () => {
      await this.#items.appendFile(`${redact(JSON.stringify(line))}\n`);
      if (this.#durable) await this.#items.datasync();
    });
    this.#recorded.delete(line.index);
    const { total, finished, failed } = this.#manifest.items;
    if (line.error === null) this.#finished.add(line.index);
    const items =
      line.error === null ? { total, finished: finished + 1, failed } : { total, finished, failed: failed + 1 };
    this.#manifest = { ...this.#manifest, items };
  }

  /** Changes the manifest; readers see the old one or the new one. */
  async update(change: Partial<PipelineManifest>): Promise<void> {
    this.#manifest = { ...this.#manifest, ...change };
    await this.#inTurn(() =>
      writeFileAtomic(
        join(this.directory, RUN_FILES.manifest),
        `${redact(JSON.stringify(this.#manifest, null, 2))}\n`,
        { durable: this.#durable },
      ),
    );
  }

  #inTurn(write: () => Promise<void>): Promise<void> {
    const written = this.#writing.then(write);
    this.#writing = written.catch(() => undefined);
    return written;
  }

  /** A folder inside the run's. @throws UsageError for a name that leads out of it */
  async folder(name: string): Promise<string> {
    const path = resolve(this.directory, name);
    const taken: readonly string[] = [...Object.values(RUN_FILES), ...Object.values(PIPELINE_FILES)];
    if (path === this.directory || !path.startsWith(join(this.directory, "/")) || taken.includes(basename(path))) {
      throw new UsageError(`export to ${name}: expected a new folder inside the run's folder, got ${path}`);
    }
    await mkdir(path, { recursive: true });
    return path;
  }

  /** Closes the files and gives the lock back; the second time, does nothing. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#store.close();
    await this.#items.close();
    await this.#lock.release();
  }
}
