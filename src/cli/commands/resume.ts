/** @file `laurel resume`: finishes a run that was cancelled or killed. */

import { openRun } from "../../pipeline/run-store.js";
import type { Action } from "../context.js";
import type { RunFlags } from "./resume.entry.js";
import { expectModel, printResult, withModels, workOn } from "./run-command.js";

/** The run's lock is taken before the models are opened, so that a run in use is refused at once. */
export const resume: Action<RunFlags> = async (context, [path = ""], flags) => {
  const run = await openRun(path, { durable: flags.durable });
  try {
    return await withModels(context, run.manifest.config, async (models) => {
      expectModel("generator", run.directory, run.manifest.models.backend, models.backend.record);
      expectModel("reward", run.directory, run.manifest.models.reward, models.reward.record);
      const { result, report } = await workOn(context, run, models, flags);
      return printResult(context, result, report, flags);
    });
  } finally {
    await run.close();
  }
};
