/** @file ReFL: the reward of the picture that one late denoiser step predicts (Xu et al. 2023, arXiv 2304.05977, algorithm 1). */

import { UsageError } from "../../errors.js";
import { createSampler } from "../../samplers/sampler.js";
import {
  compileLoss,
  drawPrompts,
  drawSeeds,
  type LossContext,
  promptFeeds,
  rewardFeeds,
  stepFeeds,
  type TrainingLoss,
} from "./loss.js";
import { oneStepObjective } from "./reward-objective.js";
import type { SettingsOf } from "./settings.js";

/**
 * Pictures are denoised without gradient to a random step of the last part of the trajectory; the step from there to the predicted clean picture is
 * differentiated. Each picture draws a step of its own, as in the paper's algorithm; ImageReward/ReFL.py draws one for all of a process, and its
 * gradients differ by orders of magnitude from batch to batch.
 * @throws UsageError when the part has no step
 */
export async function createReflLoss(context: LossContext, settings: SettingsOf<"refl">): Promise<TrainingLoss> {
  const { model, drawer, batchSize, signal } = context;
  const { margin, scale, from, sampling } = settings;
  const { guidance } = sampling;
  const sampler = createSampler(sampling.sampler, model.scheduler, sampling.steps);
  const count = sampler.timesteps.length;
  const first = Math.floor(from * count);
  if (first >= count) throw new UsageError(`from: expected a share that leaves a step of ${count}, got ${from}`);
  const rows = { rows: batchSize, guidance, clip: sampler.steps[first]?.clip };
  const program = await compileLoss(context, "refl", oneStepObjective(model, context.guides, rows, { margin, scale }));
  return {
    parameters: program.parameters,
    async gradient(generator, where) {
      const prompts = drawPrompts(context, generator, batchSize);
      const seeds = drawSeeds(generator, batchSize);
      const steps = Array.from(generator.randint(first, count, batchSize));
      const states = await drawer.draw({ prompts, seeds, sampler, guidance, stop: steps, signal });
      const samples = states.map(({ latents }) => latents);
      const feeds = {
        ...stepFeeds(sampler, steps, samples, drawer.latentShape),
        ...(await promptFeeds(context, prompts, guidance)),
        ...rewardFeeds(context, prompts),
      };
      return program.run(feeds, where);
    },
    dispose: () => program.dispose(),
  };
}
