/** @file Gradients of a search: from the score of a picture back to the latents it went through. */

import type { StepwiseModel } from "../../backends/contract.js";
import type { LatentState } from "../../diffusion/latents.js";
import type { PictureJudge } from "../../diffusion/score-gradient.js";
import type { Trajectory } from "../../diffusion/trajectory.js";
import { UsageError } from "../../errors.js";
import type { Reward } from "../../rewards/contract.js";
import { networkOf } from "../../rewards/network-of.js";
import { preprocessImage } from "../../rewards/preprocess-graph.js";
import type { StepCotangents } from "../../samplers/pull-back.js";
import type { WorkMeter } from "./work-meter.js";

/** How a score changes with the latents of a state. */
export interface Slope {
  /** Of the picture as the decoder gives it, not rounded to bytes. */
  readonly score: number;
  /** The shape of the latents, flattened. */
  readonly gradient: Float32Array;
}

/** The reward as a judge of pictures with gradients, for one prompt. @throws UsageError where it has no network to differentiate */
export function pictureJudge(strategy: string, reward: Reward, prompt: string): PictureJudge {
  const network = networkOf(reward);
  if (network === undefined)
    throw new UsageError(
      `strategy ${strategy}: expected a reward with gradients, which image-reward and clip-score have, got ${reward.name}`,
    );
  return {
    name: reward.name,
    build: (scope, picture, size) => network.build(scope, preprocessImage(picture, size, network)),
    weights: network.weights,
    feeds: (prefix) => network.textFeeds(prefix, [prompt]).feeds,
  };
}

/** What computes the gradients of a search, and counts them. */
export interface GradientParts {
  readonly model: StepwiseModel;
  readonly trajectory: Trajectory;
  readonly judge: PictureJudge;
  readonly meter: WorkMeter;
  readonly signal: AbortSignal | undefined;
}

/** Gradients of the scores of trajectories. */
export class SearchGradients {
  readonly #parts: GradientParts;
  readonly #passes: number;

  constructor(parts: GradientParts) {
    this.#parts = parts;
    this.#passes = parts.trajectory.guided ? 2 : 1;
    const { model, trajectory, judge, meter } = parts;
    meter.price(model.gradientOperations(trajectory, judge));
  }

  /** Operations of a {@link slope} that passes through the denoiser in so many entries. */
  cost(through: number): number {
    const { evaluationGradient = 0, scoringGradient = 0 } = this.#parts.meter.costs;
    return through * this.#passes * evaluationGradient + scoringGradient;
  }

  /**
   * How the score of a finished picture changes with the latents of the first of its states.
   * @param states before each entry, from any entry on, and at the end
   * @param through the last entries that the gradient passes through the denoiser in; it passes those before by the sampler's coefficients
   * @throws CancelledError when the signal aborts
   */
  async slope(states: readonly LatentState[], through: number): Promise<Slope> {
    const { model, trajectory, judge, meter, signal } = this.#parts;
    meter.count("scoringGradient", 1);
    const [scored] = await model.scoreGradient(trajectory, states.slice(-1), judge, { signal });
    let cotangents: StepCotangents = { sample: scored!.gradient, history: [] };
    for (let k = states.length - 1; k > 0; k--) {
      const differentiated = states.length - k <= through;
      if (differentiated) meter.count("evaluationGradient", this.#passes);
      const step = { before: states[k - 1]!, after: states[k]! };
      [cotangents] = (await model.pullBack(trajectory, [step], [cotangents], { signal, through: differentiated })) as [StepCotangents]; // prettier-ignore
    }
    return { score: scored!.score, gradient: cotangents.sample };
  }
}
