/** @file `laurel refine`: a search for a prompt that is drawn better. */

import { MAX_SEED } from "../../backends/contract.js";
import { loadBackendConfig } from "../../backends/load-config.js";
import { UsageError } from "../../errors.js";
import { startPipeline } from "../../library/pipelines.js";
import { planRefinement } from "../../library/refine.js";
import { checkRefiners } from "../../library/refiners.js";
import { modelLocation } from "../../weights/hub/location.js";
import type { Action } from "../context.js";
import { judgesOf } from "../judges.js";
import type { RefineFlags } from "./refine.entry.js";
import { withPipelineModels, workOnPipeline } from "./run.js";

/** @throws UsageError before any model is opened, as far as the options alone tell */
export const refine: Action<RefineFlags> = async (context, [prompt = ""], flags) => {
  const { budget, refiner, vocabulary, chat, tokens, seed, model } = flags;
  const foreign = refiner === "llm" ? { vocabulary } : { chat, tokens };
  for (const [option, value] of Object.entries(foreign)) {
    if (value === undefined) continue;
    const owner = refiner === "llm" ? "evolve" : "llm";
    throw new UsageError(`--${option}: expected together with --refiner ${owner}, got ${refiner ?? "evolve"}`);
  }
  if (refiner === "llm" && chat === undefined) {
    throw new UsageError("--chat: expected a language model for --refiner llm, got none");
  }
  if (seed !== undefined && seed + budget - 1 > MAX_SEED) {
    throw new UsageError(`--seed: expected at most ${MAX_SEED - budget + 1} with ${budget} candidates, got ${seed}`);
  }
  const backend = await loadBackendConfig(flags.backend ?? "local");
  if (model !== undefined && backend.backend !== "local") {
    throw new UsageError(`--model: expected none beside the backend ${backend.backend}, whose configuration names it`);
  }
  if (backend.backend === "folder") {
    throw new UsageError("--backend: expected a backend that draws, got folder: its pictures exist already");
  }
  const drawing = model === undefined ? backend : { backend: "local" as const, model: modelLocation(model) };
  const { negative, promptSyntax, steps, guidance, sampler, width, height, batch } = flags;
  const lora = flags.lora === undefined ? undefined : [...flags.lora];
  const tuning = { lora, loraAnneal: flags.loraAnneal };
  const settings = { negative, promptSyntax, steps, guidance, sampler, width, height, batch, ...tuning };
  const { rewardModel, ...choice } = judgesOf(flags);
  const asked = {
    prompt,
    budget,
    refiner,
    vocabulary,
    chat,
    tokens,
    seed,
    rewardModel: rewardModel ?? undefined,
    choice,
    settings,
  };
  const plan = await planRefinement({ ...asked, backend: drawing });
  await checkRefiners(plan);
  return withPipelineModels(context, plan, {}, async (models) => {
    const run = await startPipeline(flags.out, plan, models, { durable: flags.durable });
    return workOnPipeline(context, run, models, flags);
  });
};
