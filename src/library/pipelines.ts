/** @file Pipelines from start to end: begun, taken up again, repeated. */

import { basename, join } from "node:path";
import type { ImageBackend } from "../backends/contract.js";
import { UsageError } from "../errors.js";
import type { AnyRun } from "../pipeline/any-run.js";
import type { StoreOptions } from "../pipeline/candidate-store.js";
import { expectPlanFiles } from "../pipeline/document/files.js";
import { itemsOf } from "../pipeline/document/load.js";
import { candidatesPerItem, placesOf, type PipelinePlan } from "../pipeline/document/plan.js";
import type { PromptEntry } from "../prompts/prompt-file.js";
import { checkPlan } from "../pipeline/execute/check-plan.js";
import { PIPELINE_FILES, type PipelineManifest } from "../pipeline/execute/manifest.js";
import { createPipelineRun, type PipelineRun } from "../pipeline/execute/pipeline-run.js";
import { runPipeline, type RunPipelineOptions } from "../pipeline/execute/run-pipeline.js";
import { RUN_FILES } from "../pipeline/run-store.js";
import { checkRefiners, openRefiners } from "./refiners.js";
import { expectModels, modelRecords, type Models } from "./models.js";

/** How {@link finishPipeline} works. */
export type FinishPipelineOptions = Pick<RunPipelineOptions, "signal" | "onProgress" | "onWarning" | "onItem">;

/** What a pipeline will take, at most. */
export interface PipelineEstimate {
  readonly items: number;
  readonly candidates: number;
  /** Calls of a server, where the backend is one. */
  readonly requests: number | null;
  /** What the pictures cost, where the backend's configuration says what one does. */
  readonly cost: { readonly amount: number; readonly currency: string } | null;
}

/** What `plan` takes if every step draws all it may. */
export function estimatePipeline(plan: PipelinePlan): PipelineEstimate {
  const items = plan.items.length;
  // what is followed step by step is counted in operations, not in pictures
  const most = items * candidatesPerItem(plan.steps, plan.backend.backend === "local" ? placesOf : undefined);
  const candidates = Math.min(most, plan.budget.candidates ?? most);
  const { backend } = plan;
  const price = "price" in backend ? backend.price : undefined;
  return {
    items,
    candidates,
    requests: "url" in backend ? candidates : null,
    cost: price === undefined ? null : { amount: price.perImage * candidates, currency: price.currency },
  };
}

/**
 * Makes the run of a pipeline under `parent`; {@link finishPipeline} does the work. The run is locked until it is closed.
 * @throws UsageError when `parent` cannot be written, the backend refuses a setting, or a backend with prompts of its own has none
 */
export async function startPipeline(
  parent: string,
  plan: PipelinePlan,
  models: Models,
  options: StoreOptions = {},
): Promise<PipelineRun> {
  const filled = plan.promptsFromBackend ? { ...plan, items: await itemsOfBackend(plan, models.backend) } : plan;
  await checkPlan(filled, models);
  await checkRefiners(filled);
  return createPipelineRun(parent, filled, await modelRecords(models), options);
}

/**
 * Starts a run with the items, settings, seeds and models of `old`; its plan is used, so that files and defaults that changed since do not matter.
 * @throws ModelError when a model is another than that of the old run, UsageError when `parent` cannot be written
 */
export async function repeatPipeline(
  parent: string,
  old: Extract<AnyRun, { kind: "pipeline" }>,
  models: Models,
  options: StoreOptions = {},
): Promise<PipelineRun> {
  await expectModels(join(old.directory, RUN_FILES.manifest), old.manifest.models, models);
  return startPipeline(parent, { ...old.plan, seed: old.manifest.seed, promptsFromBackend: false }, models, options);
}

/**
 * Carries out what a run still lacks and closes it, whatever happens. The result of a run that was interrupted and taken up again is the one an
 * undisturbed run gives.
 * @throws ModelError when a model is not the run's; CancelledError, BackendError and system errors leave a run that can be resumed
 */
export async function finishPipeline(
  run: PipelineRun,
  models: Models,
  options: FinishPipelineOptions = {},
): Promise<PipelineManifest> {
  try {
    await expectModels(join(run.directory, RUN_FILES.manifest), run.manifest.models, models);
    await expectPlanFiles(run.plan, join(run.directory, PIPELINE_FILES.plan));
    const refiners = openRefiners(run, models.reward);
    try {
      const manifest = await runPipeline(run, { ...models, ...options, refiner: refiners.strategyOf });
      const { writePipelineReport } = await import("../report/pipeline-report.js");
      await writePipelineReport(run.directory, manifest, run.plan);
      return manifest;
    } finally {
      await refiners.close();
    }
  } finally {
    await run.close();
  }
}

async function itemsOfBackend(plan: PipelinePlan, backend: ImageBackend): Promise<PipelinePlan["items"]> {
  if (backend.prompts === undefined)
    throw new UsageError(
      `${basename(plan.file)}: prompts: expected a backend whose pictures carry prompts, got ${backend.name}`,
    );
  const entries: PromptEntry[] = [];
  for await (const prompt of backend.prompts())
    entries.push({ id: undefined, prompt, negative: undefined, fields: {} });
  if (entries.length === 0)
    throw new UsageError(
      `${basename(plan.file)}: prompts: expected pictures with prompts from ${backend.name}, got none`,
    );
  return itemsOf(plan, entries);
}
