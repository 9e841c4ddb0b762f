/** @file ReFL: the reward of the picture that one late denoiser step predicts (Xu et al. 2023, arXiv 2304.05977, algorithm 1). */

import { UsageError } from "../../errors.js";
import { createSampler } from "../../samplers/sampler.js";
import { float32 } from "../../tensor/tensor.js";
import {
  compileLoss,
  drawPrompts,
  drawSeeds,
  type LossContext,
  promptFeeds,
  rewardFeeds,
  stack,
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
  const rows = { rows: batchSize, guidance };
  const program = await compileLoss(context, "refl", oneStepObjective(model, context.guides, rows, { margin, scale }));
  return {
    parameters: program.parameters,
    async gradient(generator, where) {
      const prompts = drawPrompts(context, generator, batchSize);
      const seeds = drawSeeds(generator, batchSize);
      const steps = Array.from(generator.randint(first, count, batchSize));
      const states = await drawer.draw({ prompts, seeds, sampler, guidance, stop: steps, signal });
      const perRow = (value: (step: number) => number) => float32([batchSize, 1, 1, 1], steps.map(value));
      const feeds = {
        sample: stack(
          states.map(({ latents }) => latents),
          drawer.latentShape,
        ),
        inputScale: perRow((step) => sampler.inputScales[step]!),
        cleanSample: perRow((step) => sampler.steps[step]!.clean.sample),
        cleanOutput: perRow((step) => sampler.steps[step]!.clean.output),
        timestep: float32(
          [batchSize],
          steps.map((step) => sampler.timesteps[step]!),
        ),
        ...(await promptFeeds(context, prompts, guidance)),
        ...rewardFeeds(context, prompts),
      };
      return program.run(feeds, where);
    },
    dispose: () => program.dispose(),
  };
}
