/** @file Euler's method on the probability-flow equation (Karras et al., arXiv 2206.00364, algorithm 2 without churn). */

import type { PredictionType, SchedulerConfig } from "./scheduler-config.js";
import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { createSigmas } from "./noise-schedule.js";
import { checkSteps, interpolate, karrasSigmas, spacedTimesteps, timestepOfSigma } from "./timesteps.js";

const { fround } = Math;

/** Noise levels of the trajectory, one more than the timesteps: the last is what it ends at. */
function schedule(config: SchedulerConfig, steps: number): { timesteps: number[]; sigmas: number[] } {
  const table = createSigmas(config);
  const spaced = spacedTimesteps(config, config.timestep_spacing ?? "linspace", steps, fround);
  const levels = spaced.map((t) => interpolate(table, t));
  const sigmas = config.use_karras_sigmas ? karrasSigmas(levels[levels.length - 1]!, levels[0]!, steps) : levels;
  const timesteps = config.use_karras_sigmas ? sigmas.map((sigma) => timestepOfSigma(table, sigma)) : spaced;
  const last = config.final_sigmas_type === "zero" ? 0 : table[0]!;
  return { timesteps: timesteps.map(fround), sigmas: [...sigmas, last].map(fround) };
}

/** x0 from the sample x = x0 + sigma eps of the variance-exploding view. */
function cleanFrom(prediction: PredictionType, sigma: number): StepCoefficients["clean"] {
  switch (prediction) {
    case "epsilon":
      return { sample: 1, output: -sigma };
    case "v_prediction": // c_skip x + c_out v (arXiv 2206.00364, section 5 with sigma_data = 1)
      return { sample: 1 / (sigma * sigma + 1), output: -sigma / Math.sqrt(sigma * sigma + 1) };
    case "sample":
      return { sample: 0, output: 1 };
    default:
      return prediction satisfies never;
  }
}

/** Symbols: sigma = noise level at t, sigmaNext = at the following timestep, dt = sigmaNext - sigma. */
export const createEuler: SamplerFactory = (config, steps): Sampler => {
  checkSteps(steps, config.num_train_timesteps);
  const { timesteps, sigmas } = schedule(config, steps);
  const highest = sigmas.reduce((a, b) => Math.max(a, b));
  const leading = (config.timestep_spacing ?? "linspace") === "leading";

  const coefficients = timesteps.map((_, i): StepCoefficients => {
    const sigma = sigmas[i]!;
    // 1. denoised sample x0
    const clean = cleanFrom(config.prediction_type, sigma);
    // 2. derivative d = (x - x0) / sigma  (eq. 3);  3. x_next = x + d dt
    const ratio = (sigmas[i + 1]! - sigma) / sigma;
    return {
      clean,
      clip: undefined,
      // for epsilon the difference x - x0 is sigma y: written so, nothing cancels
      next:
        config.prediction_type === "epsilon"
          ? { clean: 0, sample: 1, output: ratio * sigma, previousClean: 0, noise: 0 }
          : { clean: -ratio, sample: 1 + ratio, output: 0, previousClean: 0, noise: 0 },
      drawsNoise: false,
    };
  });
  return {
    timesteps,
    initialScale: leading ? Math.sqrt(highest * highest + 1) : highest,
    inputScales: sigmas.slice(0, -1).map((sigma) => 1 / Math.sqrt(sigma * sigma + 1)),
    steps: coefficients,
  };
};
