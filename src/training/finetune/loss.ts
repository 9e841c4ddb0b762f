/** @file What the four methods share: a loss that makes its own batches, and the feeds that all graphs have. */

import type { Device } from "../../runtime/device.js";
import type { Sampler } from "../../samplers/contract.js";
import type { TorchGenerator } from "../../tensor/random.js";
import { float32, type Tensor } from "../../tensor/tensor.js";
import type { TrainingPrompt } from "../data/prompts.js";
import {
  createGradientProgram,
  type GradientProgram,
  type GradientRun,
  type MemoryMode,
  type Objective,
} from "../gradient-program.js";
import type { Drawer } from "./drawer.js";
import { type GuideReward, rewardPrefix, type RowSettings } from "./reward-objective.js";
import type { TunedModel } from "./tuned-model.js";

/** What a loss is made with. */
export interface LossContext {
  readonly device: Device;
  readonly model: TunedModel;
  readonly drawer: Drawer;
  readonly guides: readonly GuideReward[];
  readonly memory: MemoryMode;
  /** Draws a prompt from a uniform number. */
  readonly pickPrompt: (uniform: number) => TrainingPrompt;
  readonly batchSize: number;
  readonly signal: AbortSignal | undefined;
  /** Told once each. */
  readonly warn: (text: string) => void;
}

/** A loss that is asked for gradients, one batch at a time. */
export interface TrainingLoss {
  /** The trained parameters it depends on. */
  readonly parameters: GradientProgram["parameters"];
  /**
   * Leaves the gradients of a fresh batch bound. All randomness comes from `generator`.
   * @param where stands before the message of an error
   * @throws LaurelError for a loss that is not finite, CancelledError when the signal aborts
   */
  gradient(generator: TorchGenerator, where: string): Promise<GradientRun>;
  dispose(): Promise<void>;
}

/** Compiles the gradient of a loss. */
export function compileLoss(
  { device, memory }: LossContext,
  name: string,
  objective: Objective,
): Promise<GradientProgram> {
  return createGradientProgram(device, name, objective, memory);
}

/** Prompts drawn by weight. */
export function drawPrompts({ pickPrompt }: LossContext, generator: TorchGenerator, count: number): string[] {
  return Array.from(generator.uniform(count), (uniform) => pickPrompt(uniform).prompt);
}

/** Seeds of pictures. */
export function drawSeeds(generator: TorchGenerator, count: number): number[] {
  return Array.from(generator.randint(0, 2 ** 31, count));
}

/** What the denoiser of a graph is fed for its prompts: their states, or their tokens where the text encoder is trained. */
export async function promptFeeds(
  { model, drawer }: LossContext,
  prompts: readonly string[],
  guidance: RowSettings["guidance"],
): Promise<Record<string, Tensor>> {
  const rows = guidance > 1 ? [...prompts.map(() => ""), ...prompts] : prompts;
  return model.trainsText ? drawer.tokens(rows) : { conditioning: await drawer.conditioning(rows) };
}

/** What the rewards of a graph are fed for its prompts. */
export function rewardFeeds({ guides, warn }: LossContext, prompts: readonly string[]): Record<string, Tensor> {
  const feeds: Record<string, Tensor> = {};
  for (const { reward } of guides) {
    const text = reward.network.textFeeds(rewardPrefix(reward), prompts);
    Object.assign(feeds, text.feeds);
    for (const warning of text.warnings) warn(warning);
  }
  return feeds;
}

/** What `oneStepObjective` is fed to differentiate a step of the sampler at each sample, at a step of its own. */
export function stepFeeds(
  sampler: Sampler,
  steps: readonly number[],
  samples: readonly Float32Array[],
  shape: readonly number[],
): Record<string, Tensor> {
  const perRow = (value: (step: number) => number): Tensor => float32([steps.length, 1, 1, 1], steps.map(value));
  return {
    sample: stack(samples, shape),
    inputScale: perRow((step) => sampler.inputScales[step]!),
    cleanSample: perRow((step) => sampler.steps[step]!.clean.sample),
    cleanOutput: perRow((step) => sampler.steps[step]!.clean.output),
    timestep: float32(
      [steps.length],
      steps.map((step) => sampler.timesteps[step]!),
    ),
  };
}

/** float32 [rows, ...shape] of arrays, one a row. */
export function stack(rows: readonly Float32Array[], shape: readonly number[]): Tensor<"float32"> {
  const size = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * size);
  rows.forEach((row, i) => data.set(row, i * size));
  return float32([rows.length, ...shape], data);
}
