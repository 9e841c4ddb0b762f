/** @file DRaFT: the reward's gradient through the last sampler steps (Clark et al. 2023, arXiv 2309.17400), or a random number of them (AlignProp). */

import { UsageError } from "../../errors.js";
import { graph } from "../../graph/builder.js";
import { createSampler } from "../../samplers/sampler.js";
import type { Sampler } from "../../samplers/contract.js";
import { TorchGenerator } from "../../tensor/random.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { GradientProgram } from "../gradient-program.js";
import type { LatentState } from "../../diffusion/latents.js";
import {
  compileLoss,
  drawPrompts,
  drawSeeds,
  type LossContext,
  promptFeeds,
  rewardFeeds,
  stack,
  stepFeeds,
  type TrainingLoss,
} from "./loss.js";
import { lastStepsObjective, oneStepObjective } from "./reward-objective.js";
import type { SettingsOf } from "./settings.js";

/** DRaFT-K, AlignProp's truncation, or DRaFT-LV, as the settings say. @throws UsageError for more steps than the sampler has */
export function createDraftLoss(context: LossContext, settings: SettingsOf<"draft">): Promise<TrainingLoss> {
  const { sampling, lastSteps } = settings;
  const sampler = createSampler(sampling.sampler, context.model.scheduler, sampling.steps);
  if (lastSteps > sampler.steps.length)
    throw new UsageError(`lastSteps: expected at most the sampler's ${sampler.steps.length}, got ${lastSteps}`);
  return settings.lowVariance > 0
    ? createLowVariance(context, settings, sampler)
    : createLastSteps(context, settings, sampler);
}

/** A program for each number of differentiated steps in use, compiled when it is first drawn. */
async function createLastSteps(
  context: LossContext,
  { sampling: { guidance }, lastSteps, truncation }: SettingsOf<"draft">,
  sampler: Sampler,
): Promise<TrainingLoss> {
  const { model, drawer, guides, batchSize, signal } = context;
  const rows = { rows: batchSize, guidance };
  const programs = new Map<number, LastSteps>();
  const programOf = async (count: number): Promise<LastSteps> => {
    const known = programs.get(count);
    if (known !== undefined) return known;
    const objective = lastStepsObjective(model, guides, rows, sampler, count);
    const compiled = {
      program: await compileLoss(context, `draft-${count}`, objective),
      inputs: new Set(graph("draft", { loss: objective.loss }).inputs.keys()),
    };
    programs.set(count, compiled);
    return compiled;
  };
  const { parameters } = (await programOf(lastSteps)).program;
  return {
    parameters,
    async gradient(generator, where) {
      const prompts = drawPrompts(context, generator, batchSize);
      const seeds = drawSeeds(generator, batchSize);
      const count = truncation === "random" ? generator.randint(1, lastSteps + 1, 1)[0]! : lastSteps;
      const first = sampler.steps.length - count;
      const states = await drawer.draw({ prompts, seeds, sampler, guidance, stop: first, signal });
      const { program, inputs } = await programOf(count);
      // the last step of most samplers reads no register
      const state = Object.entries(stateFeeds(states, sampler, first, drawer.latentShape));
      const feeds = {
        ...Object.fromEntries(state.filter(([name]) => inputs.has(name))),
        ...(await promptFeeds(context, prompts, guidance)),
        ...rewardFeeds(context, prompts),
      };
      return program.run(feeds, where);
    },
    async dispose() {
      for (const { program } of programs.values()) await program.dispose();
    },
  };
}

/** A loss through the last steps, and the names of what it reads. */
interface LastSteps {
  readonly program: GradientProgram;
  readonly inputs: ReadonlySet<string>;
}

/** Where the trajectories stand, and the noise of their last steps, from each state's own random stream. */
function stateFeeds(
  states: readonly LatentState[],
  sampler: Sampler,
  first: number,
  shape: readonly number[],
): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {
    sample: stack(
      states.map(({ latents }) => latents),
      shape,
    ),
  };
  const registers = states[0]?.history.length ?? 0;
  for (let i = 0; i < registers; i++)
    feeds[`history.${i}`] = stack(
      states.map(({ history }) => history[i]!),
      shape,
    );
  const streams = states.map(({ random }) => TorchGenerator.restore(random));
  for (const [k, step] of sampler.steps.slice(first).entries()) {
    if (!step.drawsNoise) continue;
    const noise = streams.map((stream, i) => stream.randn(states[i]!.latents.length));
    feeds[`noise.${k}`] = stack(noise, shape);
  }
  return feeds;
}

/**
 * DRaFT-LV (section 4.2): finished latents are noised anew to the sampler's last noise level several times, and the one step from there is differentiated for all
 * of them: many gradients for one trajectory.
 */
async function createLowVariance(
  context: LossContext,
  { sampling: { guidance }, lowVariance }: SettingsOf<"draft">,
  sampler: Sampler,
): Promise<TrainingLoss> {
  const { model, drawer, guides, batchSize, signal } = context;
  const count = batchSize * lowVariance;
  const program = await compileLoss(
    context,
    "draft-lv",
    oneStepObjective(model, guides, { rows: count, guidance, clip: sampler.steps.at(-1)?.clip }, undefined),
  );
  const last = sampler.steps.length - 1;
  const level = sampler.noising[last]!;
  return {
    parameters: program.parameters,
    async gradient(generator, where) {
      const drawn = drawPrompts(context, generator, batchSize);
      const seeds = drawSeeds(generator, batchSize);
      const states = await drawer.draw({ prompts: drawn, seeds, sampler, guidance, signal });
      const prompts = drawn.flatMap((prompt) => Array<string>(lowVariance).fill(prompt));
      const noised = states.flatMap(({ latents }) =>
        Array.from({ length: lowVariance }, () => {
          const noise = generator.randn(latents.length);
          return latents.map((value, i) => level.sample * value + level.noise * noise[i]!);
        }),
      );
      const feeds = {
        ...stepFeeds(sampler, Array<number>(count).fill(last), noised, drawer.latentShape),
        ...(await promptFeeds(context, prompts, guidance)),
        ...rewardFeeds(context, prompts),
      };
      return program.run(feeds, where);
    },
    dispose: () => program.dispose(),
  };
}
