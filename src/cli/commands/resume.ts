/** @file `laurel resume`: finishes a run that was cancelled or killed. */

import { expectModels } from "../../library/models.js";
import { openRun } from "../../pipeline/run-store.js";
import type { Action } from "../context.js";
import type { RunFlags } from "./resume.entry.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** The run's lock is taken before the models are opened, so that a run in use is refused at once. */
export const resume: Action<RunFlags> = async (context, [path = ""], flags) => {
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
