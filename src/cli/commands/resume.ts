/** @file `laurel resume`: finishes a run that was cancelled or killed. */

import { expectModels } from "../../library/models.js";
import { isTrainRun } from "../../library/train-run.js";
import { kindOfRun } from "../../pipeline/any-run.js";
import { openPipelineRun } from "../../pipeline/execute/pipeline-run.js";
import { openRun } from "../../pipeline/run-store.js";
import type { Action, CommandContext } from "../context.js";
import type { ResumeFlags } from "./resume.entry.js";
import { expectNoQueue } from "../queued.js";
import { startPlan, withPipelineModels, workOnPipeline } from "./run.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** The run's lock is taken before the models are opened, so that a run in use is refused at once. */
export const resume: Action<ResumeFlags> = async (context, [path = ""], flags) => {
  if (isTrainRun(path)) {
    expectNoQueue(flags, "train");
    return (await import("./run-training.js")).resumeTrainingRun(context, path, flags, startPlan);
  }
  if ((await kindOfRun(path)) === "pipeline") return resumePipeline(context, path, flags);
  expectNoQueue(flags);
  const run = await openRun(path, { durable: flags.durable });
  try {
    return await withModels(context, run.manifest.config, async (models) => {
      await expectModels(run.directory, run.manifest.models, models);
      const { result, report } = await workOn(context, run, models, flags);
      return printResult(context, result, report, flags);
    });
  } finally {
    await run.close();
  }
};

async function resumePipeline(context: CommandContext, path: string, flags: ResumeFlags): Promise<number> {
  const run = await openPipelineRun(path, { durable: flags.durable });
  try {
    return await withPipelineModels(context, run.plan, flags, (models) => workOnPipeline(context, run, models, flags));
  } finally {
    await run.close();
  }
}
