/** @file `laurel generate`: best of n candidates for a prompt. */

import { randomInt } from "node:crypto";
import { resolve } from "node:path";
import { MAX_SEED } from "../../backends/contract.js";
import { resolveRequest } from "../../backends/resolve.js";
import { UsageError } from "../../errors.js";
import type { RunConfig, RunRequest } from "../../pipeline/manifest.js";
import { createRun } from "../../pipeline/run-store.js";
import type { Action } from "../context.js";
import type { GenerateFlags } from "./generate.entry.js";
import { printResult, withModels, workOn } from "./run-command.js";

/** Most candidates kept when `--keep` is absent. */
const DEFAULT_KEEP = 4;

/** @throws UsageError before any model is opened, as far as the options alone tell. */
export const generate: Action<GenerateFlags> = async (context, [prompt = ""], flags) => {
  const request = toRequest(prompt, flags);
  return withModels(context, request, async (models) => {
    const seed = request.seed ?? randomInt(0, MAX_SEED - request.count + 2);
    const resolved = resolveRequest(models.backend.model, {
      prompt: request.prompt,
      negativePrompt: request.negativePrompt ?? undefined,
      seed,
      count: request.count,
      steps: request.steps ?? undefined,
      guidance: request.guidance ?? undefined,
      sampler: request.sampler ?? undefined,
      width: request.width ?? undefined,
      height: request.height ?? undefined,
      batch: request.batch ?? undefined,
    });
    const config: RunConfig = {
      ...request,
      seed,
      negativePrompt: resolved.request.negativePrompt ?? null,
      steps: resolved.request.steps ?? null,
      guidance: resolved.request.guidance ?? null,
      sampler: resolved.request.sampler ?? null,
      width: resolved.request.width ?? null,
      height: resolved.request.height ?? null,
      batch: resolved.request.batch,
    };
    const run = await createRun(
      flags.out,
      {
        request,
        config,
        models: { backend: models.backend.record, reward: models.reward.record },
        warnings: resolved.warnings,
      },
      { durable: flags.durable },
    );
    const { result, report } = await workOn(context, run, models, flags);
    return printResult(context, result, report, flags);
  });
};

function toRequest(prompt: string, flags: GenerateFlags): RunRequest {
  const { count } = flags;
  if (flags.keep !== undefined && flags.keep > count) {
    throw new UsageError(`--keep: expected at most the ${count} candidates of -n, got ${flags.keep}`);
  }
  if (flags.seed !== undefined && flags.seed + count - 1 > MAX_SEED) {
    throw new UsageError(
      `--seed: expected at most ${MAX_SEED - count + 1}, so that ${count} candidates have a seed each, got ${flags.seed}`,
    );
  }
  return {
    prompt,
    negativePrompt: flags.negative ?? null,
    strategy: "best-of-n",
    count,
    keep: flags.keep ?? Math.min(DEFAULT_KEEP, count),
    seed: flags.seed ?? null,
    steps: flags.steps ?? null,
    guidance: flags.guidance ?? null,
    sampler: flags.sampler ?? null,
    width: flags.width ?? null,
    height: flags.height ?? null,
    batch: flags.batch ?? null,
    model: flags.model === undefined ? null : resolve(flags.model),
    rewardModel: flags.rewardModel === undefined ? null : resolve(flags.rewardModel),
  };
}
