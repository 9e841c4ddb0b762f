/** @file The samplers that work in the variance-exploding view (Euler, Euler ancestral, Heun, DPM-Solver++ SDE): levels, scales, derivative. */

import type { LinearForm } from "./contract.js";
import { CLEAN, combine, OUTPUT, SAMPLE } from "./linear-form.js";
import { createSigmas } from "./noise-schedule.js";
import type { SchedulerConfig } from "./scheduler-config.js";
import { checkSteps, interpolate, karrasSigmas, spacedTimesteps, timestepOfSigma } from "./timesteps.js";

const { fround } = Math;

/** The levels a trajectory visits. */
export interface NoiseLevels {
  readonly timesteps: readonly number[];
  /** Noise levels, float32, one more than the timesteps: the last is what the trajectory ends at. */
  readonly sigmas: readonly number[];
  /** The initial standard normal latents are multiplied by this. */
  readonly initialScale: number;
  /** The training timestep (fractional) of a noise level in between. */
  readonly timestepOf: (sigma: number) => number;
}

/**
 * The levels of `steps` steps. With `use_karras_sigmas` they are spread by Karras's rule between those of the first and the last timestep.
 * @param round what the reference rounds its timesteps with; it keeps most in float32
 * @throws UsageError for a step count out of range
 */
export function noiseLevels(
  config: SchedulerConfig,
  steps: number,
  round: (timestep: number) => number = fround,
): NoiseLevels {
  checkSteps(steps, config.num_train_timesteps);
  const table = createSigmas(config);
  const spacing = config.timestep_spacing ?? "linspace";
  const timestepOf = (sigma: number): number => timestepOfSigma(table, sigma);
  let timesteps = spacedTimesteps(config, spacing, steps, round);
  let levels = timesteps.map((t) => interpolate(table, t));
  if (config.use_karras_sigmas) {
    levels = karrasSigmas(levels[levels.length - 1]!, levels[0]!, steps);
    timesteps = levels.map((sigma) => round(timestepOf(sigma)));
  }
  const sigmas = [...levels, config.final_sigmas_type === "zero" ? 0 : table[0]!].map(fround);
  const highest = sigmas.reduce((a, b) => Math.max(a, b));
  return {
    timesteps,
    sigmas,
    initialScale: spacing === "leading" ? Math.sqrt(highest * highest + 1) : highest,
    timestepOf,
  };
}

/** The denoiser reads samples scaled to unit variance: x / sqrt(sigma^2 + 1). */
export function inputScale(sigma: number): number {
  return 1 / Math.sqrt(sigma * sigma + 1);
}

/**
 * dx/dsigma = (x - x0) / sigma of the probability-flow equation (arXiv 2206.00364, eq. 3). For epsilon prediction that is the output itself:
 * written so, nothing cancels.
 * @param clipped true when x0 is clamped, so that the output no longer says the same
 */
export function derivative(config: SchedulerConfig, sigma: number, clipped = false): LinearForm {
  if (config.prediction_type === "epsilon" && !clipped) return OUTPUT;
  return combine([1 / sigma, SAMPLE], [-1 / sigma, CLEAN]);
}
