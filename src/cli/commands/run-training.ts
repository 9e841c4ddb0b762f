/** @file Pipelines that begin with a training: first the training, then the steps that draw with what came of it; taken up again in either. */

import { basename, join } from "node:path";
import { EXIT, UsageError } from "../../errors.js";
import { type TrainedPipeline, trainedPipeline } from "../../library/pipeline-training.js";
import { resumeTraining, trainModel, type TrainModelResult } from "../../library/train.js";
import { readTrainManifest, TRAINING_FILES, type TrainRunManifest } from "../../library/train-run.js";
import { readDocument } from "../../pipeline/document/load.js";
import type { PipelinePlan } from "../../pipeline/document/plan.js";
import type { CommandContext } from "../context.js";
import { shownPath } from "../output.js";
import type { RunFlags } from "./resume.entry.js";
import { followTraining, printTraining } from "./train.js";

/** The document whose training a run is. */
type PipelineOfTraining = NonNullable<TrainRunManifest["pipeline"]>;

/** Runs a plan from its beginning; `more` is what else the JSON says. */
export type StartPlan = (
  context: CommandContext,
  plan: PipelinePlan,
  flags: RunFlags & { readonly out?: string },
  more: object,
) => Promise<number>;

const resumeWith = (directory: string): string => `laurel resume ${shownPath(directory)}`;

/** Trains, then runs the plan with what came of it. */
export async function runTraining(
  context: CommandContext,
  trained: TrainedPipeline,
  pipeline: PipelineOfTraining,
  out: string,
  flags: RunFlags,
  startPlan: StartPlan,
): Promise<number> {
  const result = await followTraining(context, flags, resumeWith, (more) =>
    trainModel({ ...trained.training, out, pipeline, executionProvider: flags.device, ...more }),
  );
  return drawWith(context, trained, result, pipeline, flags, startPlan);
}

/** Goes on with a training and, where it is that of a pipeline, with the pipeline. */
export async function resumeTrainingRun(
  context: CommandContext,
  path: string,
  flags: RunFlags,
  startPlan: StartPlan,
): Promise<number> {
  const file = basename(path) === TRAINING_FILES.manifest ? path : join(path, TRAINING_FILES.manifest);
  const { pipeline } = await readTrainManifest(file);
  const trained = pipeline === null ? undefined : await trainedPipeline(await readDocument(pipeline.file, pipeline.set)); // prettier-ignore
  const result = await followTraining(context, flags, resumeWith, (more) =>
    resumeTraining(path, { executionProvider: flags.device, ...more }),
  );
  if (pipeline !== null && trained !== undefined) return drawWith(context, trained, result, pipeline, flags, startPlan);
  printTraining(context.terminal, result, flags);
  return EXIT.ok;
}

async function drawWith(
  context: CommandContext,
  trained: TrainedPipeline,
  result: TrainModelResult,
  { out }: PipelineOfTraining,
  flags: RunFlags,
  startPlan: StartPlan,
): Promise<number> {
  if (result.result === null) throw new UsageError(`${result.directory}: expected a training with a result, got none`);
  if (flags.json !== true) printTraining(context.terminal, result, { ...flags, path: false });
  const plan = await trained.planWith(result.result);
  return startPlan(context, plan, out === null ? flags : { ...flags, out }, { training: result });
}
