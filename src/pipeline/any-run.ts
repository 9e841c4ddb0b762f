/** @file Runs of any kind for reading: what they say of themselves, and their candidates. */

import { UsageError } from "../errors.js";
import { parseJson, readText } from "../util/read-file.js";
import type { CandidateLine } from "./candidate-record.js";
import { readPipelineCandidates } from "./execute/recover.js";
import type { PipelineManifest } from "./execute/manifest.js";
import { readPipelineManifest, readPlan } from "./execute/pipeline-run.js";
import type { PipelinePlan } from "./document/plan.js";
import { type RunManifest, readManifest } from "./manifest.js";
import { locateRun, readRun } from "./run-store.js";

/** A run of `laurel generate`, or of a pipeline. */
export type AnyRun =
  | { readonly kind: "generate"; readonly directory: string; readonly manifest: RunManifest }
  | {
      readonly kind: "pipeline";
      readonly directory: string;
      readonly manifest: PipelineManifest;
      readonly plan: PipelinePlan;
    };

/** What kind of run a folder, or its run.json, is of. @throws UsageError when it is none */
export async function kindOfRun(path: string): Promise<AnyRun["kind"]> {
  const { manifest } = await locateRun(path);
  const text = await readText(manifest, { expected: "the run.json of a run", as: UsageError });
  const json = parseJson(text, manifest, UsageError) as { kind?: unknown } | null;
  return json?.kind === "pipeline" ? "pipeline" : "generate";
}

/** Reads what a run says of itself; it may be running. @throws UsageError naming what is wrong */
export async function readAnyRun(path: string): Promise<AnyRun> {
  const kind = await kindOfRun(path);
  const { directory, manifest: manifestPath } = await locateRun(path);
  if (kind === "generate") return { kind, directory, manifest: await readManifest(manifestPath) };
  const manifest = await readPipelineManifest(directory);
  return { kind, directory, manifest, plan: await readPlan(directory, manifest) };
}

/** A candidate, and the name by which that of another run is compared with it. */
export interface NamedCandidate {
  /** `<index>`, or in a pipeline `<item>#<place among the item's candidates>`. */
  readonly name: string;
  readonly line: CandidateLine;
}

/** The candidates of a run in the order they were stored in. Their images are not looked at. */
export async function* candidatesOf(run: AnyRun): AsyncGenerator<NamedCandidate, void> {
  if (run.kind === "generate") {
    for (const line of (await readRun(run.directory)).candidates) yield { name: String(line.index), line };
    return;
  }
  for await (const line of readPipelineCandidates(run.directory, run.plan))
    yield { name: `${line.item}#${line.index % run.plan.candidatesPerItem}`, line };
}
