/** @file DDIM (Song et al., arXiv 2010.02502), with eta for its stochastic variants. */

import { UsageError } from "../errors.js";
import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { createAlphaBars } from "./noise-schedule.js";
import { alphaBarAt, cleanFromPrediction, noiseFromPrediction, noisingOf } from "./prediction.js";
import { checkSteps, spacedTimesteps } from "./timesteps.js";

/** Symbols: alphaBar = signal at t (the paper's alpha_t), alphaBarPrev = signal at the next, less noisy timestep, std = sigma_t(eta). */
export const createDdim: SamplerFactory = (config, steps, { eta }): Sampler => {
  checkSteps(steps, config.num_train_timesteps);
  if (!(eta >= 0 && eta <= 1)) throw new UsageError(`eta: expected a number in [0, 1], got ${eta}`);
  const alphaBars = createAlphaBars(config);
  const prediction = config.prediction_type;
  const timesteps = spacedTimesteps(config, config.timestep_spacing ?? "leading", steps);
  const clip = (config.clip_sample ?? true) ? config.clip_sample_range : undefined;
  const finalAlphaBar = (config.set_alpha_to_one ?? true) ? 1 : alphaBars[0]!;
  const jump = Math.floor(config.num_train_timesteps / steps);

  const coefficients = timesteps.map((t): StepCoefficients => {
    // 1. signal before and after the jump (the target need not be one of the timesteps visited)
    const alphaBar = alphaBarAt(alphaBars, t, prediction);
    const alphaBarPrev = alphaBars[t - jump] ?? finalAlphaBar;

    // 2. sigma_t(eta) = eta sqrt((1 - alphaBarPrev) / (1 - alphaBar)) sqrt(1 - alphaBar / alphaBarPrev)  (eq. 16)
    const variance = ((1 - alphaBarPrev) / (1 - alphaBar)) * (1 - alphaBar / alphaBarPrev);
    const std = eta * Math.sqrt(variance);

    // 3. x_prev = sqrt(alphaBarPrev) x0 + sqrt(1 - alphaBarPrev - std^2) eps + std z  (eq. 12)
    const direction = Math.sqrt(1 - alphaBarPrev - std * std);
    const alpha = Math.sqrt(alphaBar);
    const sigma = Math.sqrt(1 - alphaBar);
    const noise = noiseFromPrediction(prediction, alpha, sigma);
    return {
      clean: cleanFromPrediction(prediction, alpha, sigma),
      clip,
      next: {
        clean: Math.sqrt(alphaBarPrev),
        sample: direction * noise.sample,
        output: direction * noise.output,
        noise: std,
      },
      history: [],
      drawsNoise: eta > 0,
    };
  });
  return {
    timesteps,
    initialScale: 1,
    inputScales: timesteps.map(() => 1),
    steps: coefficients,
    noising: noisingOf(alphaBars, timesteps),
  };
};
