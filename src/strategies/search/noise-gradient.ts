/** @file Gradient ascent on the noise: the reward is followed back through decoder and sampler to the noise a picture begins with. */

import { UsageError } from "../../errors.js";
import type { Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import { type Complete, Search } from "./search.js";

/** Settings of {@link noiseGradient}. */
export interface NoiseGradientOptions {
  /** Share of the budget that is drawn plainly from seeds first; the ascent begins at the best of them. 0 begins at the first seed. @default 0.5 */
  readonly explore?: number | undefined;
  /** Length of a step along the clipped gradient. @default 5 */
  readonly learningRate?: number | undefined;
  /** Largest norm of the gradient; a larger one is scaled down to it. @default 0.1 */
  readonly clip?: number | undefined;
  /** Nesterov momentum of the ascent, 0 to below 1. @default 0.9 */
  readonly momentum?: number | undefined;
  /** Weight of the noise's log density under the chi distribution of its norm, beside the reward. @default 0.01 */
  readonly regulariser?: number | undefined;
  /** The last entries of the sampler that the gradient passes through the denoiser in; it passes the others by their linear coefficients. @default all, where there are 4 or fewer */
  readonly through?: number | undefined;
  /** Share of the way after which the latents are moved, not the noise: 0 is the noise itself. @default 0 */
  readonly from?: number | undefined;
}

/**
 * The strategy `noise-gradient` (ReNO, Eyring et al. 2024, arXiv 2406.04312): gradient ascent of the reward on the noise that a picture begins with.
 * @throws UsageError for settings out of range
 */
export function noiseGradient(options: NoiseGradientOptions = {}): Strategy {
  const { explore = 0.5, learningRate = 5, clip = 0.1, momentum = 0.9, regulariser = 0.01, through = 4, from = 0 } = options;
  const settings = { explore, learningRate, clip, momentum, regulariser, through, from };
  return { name: "noise-gradient", run: (context) => run(context, settings) };
}

async function* run(
  context: StrategyContext,
  settings: Complete<NoiseGradientOptions>,
): AsyncGenerator<StrategyEvent, void> {
  const search = await Search.open("noise-gradient", context);
  yield* search.warn(search.trajectory.warnings);
  if (settings.explore <= 0) throw new UsageError(`noise-gradient: expected a share, got ${settings.explore}`);
  yield search.done(search.spent());
}
