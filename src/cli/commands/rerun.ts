/** @file `laurel rerun`: the same run again, and whether it gives the same bytes. */

import { join } from "node:path";
import { checkRequest } from "../../backends/resolve.js";
import { EXIT } from "../../errors.js";
import { imageRequest } from "../../pipeline/generate-run.js";
import { createRun, readRun, RUN_FILES, type RunSnapshot } from "../../pipeline/run-store.js";
import { changedVersions } from "../../pipeline/versions.js";
import type { Action } from "../context.js";
import { palette } from "../output.js";
import type { RerunFlags } from "./rerun.entry.js";
import { expectModel, printResult, withModels, workOn } from "./run-command.js";

/** Uses the manifest's resolved config, so that defaults that changed since do not matter. */
export const rerun: Action<RerunFlags> = async (context, [path = ""], flags) => {
  const old = await readRun(path);
  const { config, models: expected } = old.manifest;
  const where = join(old.directory, RUN_FILES.manifest);
  return withModels(context, config, async (models) => {
    expectModel("generator", where, expected.backend, models.backend.record);
    expectModel("reward", where, expected.reward, models.reward.record);
    checkRequest(models.backend.model, imageRequest(config));
    const run = await createRun(
      flags.out,
      {
        request: { ...old.manifest.request, seed: config.seed },
        config,
        models: { backend: models.backend.record, reward: models.reward.record },
        warnings: changedVersions(old.manifest.versions),
      },
      { durable: flags.durable },
    );
    const { result, report } = await workOn(context, run, models, flags);
    const reproduced = compare(old, run.snapshot());
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

/** Compares the image files of two runs, by index. */
function compare(
  old: RunSnapshot,
  now: RunSnapshot,
): { readonly compared: number; readonly different: readonly number[] } {
  const before = new Map(old.candidates.map((line) => [line.index, line.sha256]));
  const both = now.candidates.filter((line) => before.has(line.index));
  return {
    compared: both.length,
    different: both.filter((line) => before.get(line.index) !== line.sha256).map((line) => line.index),
  };
}
