/** @file `laurel rerun`: the same run again, and whether it gives the same bytes. */

import { EXIT } from "../../errors.js";
import { compareRuns, repeatRun } from "../../library/runs.js";
import { readRun } from "../../pipeline/run-store.js";
import type { Action } from "../context.js";
import { palette } from "../output.js";
import type { RerunFlags } from "./rerun.entry.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** The exit code tells whether every image that both runs have is the same. */
export const rerun: Action<RerunFlags> = async (context, [path = ""], flags) => {
  const old = await readRun(path);
  return withModels(context, old.manifest.config, async (models) => {
    const run = await repeatRun(flags.out, old, models, { durable: flags.durable });
    const { result, report } = await workOn(context, run, models, flags);
    const reproduced = compareRuns(old, run.snapshot());
    printResult(context, { ...result, ...{ reproduced } }, report, flags);
    if (flags.json !== true && flags.quiet !== true) {
      const { stderr, environment } = context.terminal;
      const { yellow, green } = palette(stderr, environment);
      const { compared, different } = reproduced;
      const verdict = `${compared - different.length} of ${compared} images are identical to ${old.manifest.runId}`;
      stderr.write(`${(different.length > 0 ? yellow : green)(verdict)}\n`);
    }
    return reproduced.different.length > 0 ? EXIT.gate : EXIT.ok;
  });
};
