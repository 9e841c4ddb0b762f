/** @file Runs on disk from start to end: begun, taken up again, repeated, compared. */

import { join, resolve } from "node:path";
import { checkRequest } from "../backends/resolve.js";
import { UsageError } from "../errors.js";
import { rewardPrompt } from "../pipeline/candidate-record.js";
import { expectFiles, fileRecords } from "../pipeline/named-files.js";
import { generateRun, imageRequest, type RunProgress } from "../pipeline/generate-run.js";
import { readInputs } from "../pipeline/inputs.js";
import type { FileRecord, RunConfig, RunRequest } from "../pipeline/manifest.js";
import type { StoreOptions } from "../pipeline/candidate-store.js";
import { createRun, type Run, RUN_FILES, type RunSnapshot } from "../pipeline/run-store.js";
import { changedVersions } from "../pipeline/versions.js";
import type { Limits } from "../strategies/budget.js";
import type { StrategySettings } from "../strategies/settings.js";
import { completeRequest, type GenerateRequest } from "./generate.js";
import { DEFAULT_CHOICE, type RewardChoice } from "./chosen-rewards.js";
import { expectModels, modelRecords, type Models } from "./models.js";
import { openStrategy } from "./open-strategy.js";
import { candidatesFor, candidatesWithin, checkSpending, DEFAULT_STRATEGY } from "./run-budget.js";

/** Most candidates kept where the request does not say how many. */
const DEFAULT_KEEP = 4;

/** What a run is asked for. */
export interface NewRunRequest extends GenerateRequest {
  /** How the compute of `count` candidates is spent. @default best-of-n */
  readonly strategy?: StrategySettings | undefined;
  /**
   * What may be spent beside the candidates, of which there are as many as it suffices for; at most `count`, which is then 10,000, or 64 for `refine`,
   * where the request says none. @default no limit
   */
  readonly budget?: Limits | undefined;
  /** How many of the best are marked as kept, at most `count`. @default 4 */
  readonly keep?: number | undefined;
  /** Keeps good candidates that differ, rather than the best. @default false */
  readonly diverse?: boolean | undefined;
  /** What the backend was opened from, so that the run can be taken up with the same. @default the local backend over its folder */
  readonly backend?: RunConfig["backend"] | undefined;
  /** Variant of the model's weights it was opened with. @default none */
  readonly variant?: RunConfig["variant"] | undefined;
  /** What the model's denoiser was said to predict. @default as the model says */
  readonly prediction?: RunConfig["prediction"] | undefined;
  /** What the reward was opened from, so that the run can be taken up with the same. @default a file or folder, or what ships inside */
  readonly choice?: RewardChoice | undefined;
}

/** How {@link finishRun} works. */
export interface FinishRunOptions {
  /** Ends the work with CancelledError; the run can be finished later. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each step and each stored candidate. */
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  /** Called with each warning when it comes up; the manifest has them all. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Milliseconds spent opening the models, for the timings. @default 0 */
  readonly loadMs?: number | undefined;
  /** Milliseconds spent inside programs so far, for the timings. @default () => 0 */
  readonly programMs?: (() => number) | undefined;
}

/** A finished run. */
export interface FinishedRun extends RunSnapshot {
  /** `report.html`, absolute. */
  readonly report: string;
}

/** How the images of two runs compare. */
export interface RunComparison {
  /** Candidates that both runs have. */
  readonly compared: number;
  /** Indices of those whose files differ. */
  readonly different: readonly number[];
}

/**
 * Makes a run's folder under `parent` and writes what is asked for into it; {@link finishRun} does the work. The run is locked until it is closed.
 * @throws UsageError for a request outside what the backend can draw, or when `parent` cannot be written
 */
export async function startRun(
  parent: string,
  models: Models,
  request: NewRunRequest,
  options: StoreOptions = {},
): Promise<Run> {
  const resolved = completeRequest(models, { ...request, count: candidatesFor(request) });
  await models.backend.check?.(resolved.request);
  const count = await candidatesWithin(models, resolved.request, request);
  const keep = keepOf(request, count);
  await checkSpending(models, { ...resolved.request, count }, request);
  const records = await modelRecords(models);
  const { backend = null, variant = null, prediction = null, choice = DEFAULT_CHOICE, diverse = false } = request;
  const rewards = choice.rewards.map((one) => ({ ...one }));
  const judges = { rewardModel: records.reward.path, rewards, heldOut: [...choice.heldOut] };
  const paths = { backend, model: records.backend.path, variant, prediction, ...judges };
  const asked: RunRequest = {
    ...settings({ ...request, count: request.count ?? count }),
    ...paths,
    keep,
    diverse,
    seed: request.seed ?? null,
  };
  const { seed, batch } = resolved.request;
  const drawn = settings({ ...resolved.request, count, strategy: request.strategy, budget: request.budget });
  const meaning = rewardPrompt(drawn.prompt, drawn.promptSyntax);
  const config: RunConfig = { ...drawn, ...paths, keep, diverse, seed, batch, rewardPrompt: meaning };
  const { request: inputs } = resolved;
  const warnings = [...resolved.warnings, ...loweredCount(request, count)];
  const files = await namedFiles(config);
  return createRun(parent, { request: asked, config, inputs, ...files, models: records, warnings }, options);
}

/**
 * Starts a run with the seeds, settings and models of `old`, whose resolved values are used, so that defaults that changed since do not matter.
 * @throws ModelError when a model is another than that of the old run, UsageError when `parent` cannot be written
 */
export async function repeatRun(
  parent: string,
  old: RunSnapshot,
  models: Models,
  options: StoreOptions = {},
): Promise<Run> {
  const { config, request, versions, embeddings, loras } = old.manifest;
  const where = join(old.directory, RUN_FILES.manifest);
  await expectModels(where, old.manifest.models, models);
  await expectNamedFiles(where, old);
  const inputs = await readInputs(old.directory, old.manifest.inputs);
  checkRequest(models.backend, imageRequest(config, inputs));
  return createRun(
    parent,
    {
      request: { ...request, seed: config.seed },
      config,
      inputs,
      embeddings,
      loras,
      models: await modelRecords(models),
      warnings: changedVersions(versions),
    },
    options,
  );
}

/**
 * Draws, scores and stores what a run still lacks, writes `report.html` and `grid.png`, and closes the run, whatever happens. The result of a run
 * that was interrupted and taken up with {@link openRun} is the one an undisturbed run gives.
 * @throws ModelError when a model is not the run's, CancelledError when `signal` aborts (the run can be finished later), and what the models throw
 */
export async function finishRun(run: Run, models: Models, options: FinishRunOptions = {}): Promise<FinishedRun> {
  try {
    await expectModels(run.directory, run.manifest.models, models);
    await expectNamedFiles(run.directory, run);
    const { strategy, close } = await openStrategy(run.manifest.config.strategy, {
      ...models,
      directory: run.directory,
    });
    const generating = generateRun(run, { ...models, ...options, strategy }).finally(close);
    // loaded while the device is at work and this process waits
    const [{ writeReport }] = await Promise.all([import("../report/report.js"), generating]);
    const { report } = await writeReport(run.snapshot());
    return { ...run.snapshot(), report };
  } finally {
    await run.close();
  }
}

/** The embeddings and LoRAs of a config as the manifest has them. @throws ModelError for one that cannot be read */
async function namedFiles({
  embeddings,
  loras,
}: RunConfig): Promise<{ embeddings: FileRecord[]; loras: FileRecord[] }> {
  return {
    embeddings: await fileRecords("an embedding", embeddings),
    loras: await fileRecords(
      "a LoRA",
      loras.map(({ path }) => path),
    ),
  };
}

/** @throws ModelError when an embedding or a LoRA is not what it was when the run began */
async function expectNamedFiles(where: string, { manifest }: Pick<RunSnapshot, "manifest">): Promise<void> {
  await expectFiles(where, "an embedding", manifest.embeddings);
  await expectFiles(where, "a LoRA", manifest.loras);
}

/** Compares the image files of two runs, candidate by candidate. */
export function compareRuns(before: RunSnapshot, after: RunSnapshot): RunComparison {
  const digests = new Map(before.candidates.map((line) => [line.index, line.sha256]));
  const both = after.candidates.filter((line) => digests.has(line.index));
  return {
    compared: both.length,
    different: both.filter((line) => digests.get(line.index) !== line.sha256).map((line) => line.index),
  };
}

/** What is to be told where the budget draws fewer candidates than the request asks for. */
function loweredCount({ count, budget }: NewRunRequest, possible: number): string[] {
  if (count === undefined || count <= possible) return [];
  return [`candidates: expected ${count}, got ${possible}, which ${budget?.evaluations ?? 0} evaluations draw`];
}

/** How many to keep. @throws UsageError */
function keepOf({ keep }: NewRunRequest, count: number): number {
  const kept = keep ?? Math.min(DEFAULT_KEEP, count);
  if (Number.isInteger(kept) && kept >= 1 && kept <= count) return kept;
  throw new UsageError(`keep: expected a whole number from 1 to the ${count} candidates, got ${kept}`);
}

/** The settings of a request as the manifest has them: null where nothing is said. */
function settings(
  request: Pick<NewRunRequest, keyof GenerateRequest | "strategy" | "budget"> & { readonly count: number },
): Omit<
  RunRequest,
  "keep" | "diverse" | "seed" | "backend" | "model" | "variant" | "prediction" | "rewardModel" | "rewards" | "heldOut"
> {
  return {
    prompt: request.prompt,
    negativePrompt: request.negativePrompt ?? null,
    promptSyntax: request.promptSyntax ?? "plain",
    clipSkip: request.clipSkip ?? null,
    embeddings: (request.embeddings ?? []).map((path) => resolve(path)),
    loras: (request.loras ?? []).map(({ path, scale = 1 }) => ({ path: resolve(path), scale })),
    loraAnneal: request.loraAnneal ?? null,
    strategy: request.strategy ?? DEFAULT_STRATEGY,
    count: request.count,
    budget: {
      evaluations: request.budget?.evaluations ?? null,
      seconds: request.budget?.seconds ?? null,
      until: request.budget?.until ?? null,
    },
    steps: request.steps ?? null,
    guidance: request.guidance ?? null,
    sampler: request.sampler ?? null,
    width: request.width ?? null,
    height: request.height ?? null,
    strength: request.strength ?? null,
    batch: request.batch ?? null,
  };
}
