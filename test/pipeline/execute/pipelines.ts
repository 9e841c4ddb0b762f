/** @file Pipelines for tests: written to a temporary folder, run on a backend that paints and a reward that counts brightness. */

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadPipeline } from "#laurel/pipeline/document/load";
import type { PipelinePlan } from "#laurel/pipeline/document/plan";
import { createPipelineRun, type PipelineRun } from "#laurel/pipeline/execute/pipeline-run";
import { runPipeline, type RunPipelineOptions } from "#laurel/pipeline/execute/run-pipeline";
import type { ItemLine, PipelineCandidate, PipelineManifest } from "#laurel/pipeline/execute/manifest";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { createProceduralBackend } from "../../backends/procedural-backend.js";

/** A folder that is removed at the end. */
export async function temporaryFolder(cleanUp: (() => Promise<void>)[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-pipeline-"));
  cleanUp.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A plan from YAML text. */
export async function planOf(folder: string, yaml: string, set: Record<string, string> = {}): Promise<PipelinePlan> {
  const file = join(folder, "pipeline.yaml");
  await writeFile(file, yaml);
  return loadPipeline(file, set);
}

/** What a manifest says of the models of these tests. */
export const MODELS: PipelineManifest["models"] = {
  backend: { name: "procedural", model: "rectangles", path: null, digest: null },
  reward: { name: "brightness", model: "brightness", path: null, digest: null },
};

/** A painting backend, a counting reward, no refinement. */
export function services(change: Partial<RunPipelineOptions> = {}): RunPipelineOptions {
  return {
    backend: createProceduralBackend(),
    reward: createBrightnessReward(),
    refiner: () => Promise.reject(new Error("no refiner in this test")),
    ...change,
  };
}

/** Starts a run of `plan` and carries it out. */
export async function runPlan(
  parent: string,
  plan: PipelinePlan,
  options: RunPipelineOptions = services(),
): Promise<PipelineRun> {
  const run = await createPipelineRun(parent, plan, MODELS);
  try {
    await runPipeline(run, options);
  } finally {
    await run.close();
  }
  return run;
}

/** What a run holds on disk. */
export interface RunContent {
  readonly candidates: readonly PipelineCandidate[];
  readonly items: readonly ItemLine[];
  /** Names of the pictures. */
  readonly images: readonly string[];
}

/** Reads a run's lists, sorted by index. */
export async function contentOf(directory: string): Promise<RunContent> {
  const lines = async <T>(name: string): Promise<T[]> =>
    (await readFile(join(directory, name), "utf8"))
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as T]));
  const candidates = await lines<PipelineCandidate>("candidates.jsonl");
  const items = await lines<ItemLine>("items.jsonl");
  const images = await readdir(join(directory, "images"), { recursive: true });
  return {
    candidates: candidates.sort((a, b) => a.index - b.index),
    items: items.sort((a, b) => a.index - b.index),
    images: images.filter((name) => name.endsWith(".png")).sort(),
  };
}
