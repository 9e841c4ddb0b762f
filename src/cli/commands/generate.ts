/** @file `laurel generate`: best of n candidates for a prompt. */

import { resolve } from "node:path";
import { MAX_SEED } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import { startRun } from "../../library/runs.js";
import type { Action } from "../context.js";
import type { GenerateFlags } from "./generate.entry.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** @throws UsageError before any model is opened, as far as the options alone tell. */
export const generate: Action<GenerateFlags> = async (context, [prompt = ""], flags) => {
  checkFlags(flags);
  const path = (given: string | undefined): string | null => (given === undefined ? null : resolve(given));
  const paths = { model: path(flags.model), rewardModel: path(flags.rewardModel) };
  return withModels(context, paths, async (models) => {
    const { count, keep, seed, negative: negativePrompt, steps, guidance, sampler, width, height, batch } = flags;
    const request = { prompt, negativePrompt, count, keep, seed, steps, guidance, sampler, width, height, batch };
    const run = await startRun(flags.out, models, request, { durable: flags.durable });
    const { result, report } = await workOn(context, run, models, flags);
    return printResult(context, result, report, flags);
  });
};

function checkFlags({ count, keep, seed }: GenerateFlags): void {
  if (keep !== undefined && keep > count) {
    throw new UsageError(`--keep: expected at most the ${count} candidates of -n, got ${keep}`);
  }
  if (seed !== undefined && seed + count - 1 > MAX_SEED) {
    throw new UsageError(
      `--seed: expected at most ${MAX_SEED - count + 1}, so that ${count} candidates have a seed each, got ${seed}`,
    );
  }
}
