/** @file DDPM ancestral sampling (Ho et al., arXiv 2006.11239). */

import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { createAlphaBars } from "./noise-schedule.js";
import { alphaBarAt, cleanFromPrediction, noisingOf } from "./prediction.js";
import { checkSteps, spacedTimesteps } from "./timesteps.js";

/** Symbols: alphaBar = signal at t, alphaBarPrev = signal at the next, less noisy timestep (1 after the last), alpha and beta of the jump between them. */
export const createDdpm: SamplerFactory = (config, steps): Sampler => {
  checkSteps(steps, config.num_train_timesteps);
  const alphaBars = createAlphaBars(config);
  const prediction = config.prediction_type;
  const timesteps = spacedTimesteps(config, config.timestep_spacing ?? "leading", steps);
  const clip = (config.clip_sample ?? true) ? config.clip_sample_range : undefined;

  const coefficients = timesteps.map((t, i): StepCoefficients => {
    // 1. signal before and after the jump
    const alphaBar = alphaBarAt(alphaBars, t, prediction);
    const previous = timesteps[i + 1];
    const alphaBarPrev = previous === undefined ? 1 : alphaBars[previous]!;
    const alpha = alphaBar / alphaBarPrev;
    const beta = 1 - alpha;
    const betaBar = 1 - alphaBar;

    // 2. posterior mean (eq. 7): sqrt(alphaBarPrev) beta / (1 - alphaBar) x0 + sqrt(alpha) (1 - alphaBarPrev) / (1 - alphaBar) x_t
    const clean = (Math.sqrt(alphaBarPrev) * beta) / betaBar;
    const sample = (Math.sqrt(alpha) * (1 - alphaBarPrev)) / betaBar;

    // 3. posterior variance (eq. 7), or beta itself (section 3.2); none at timestep 0
    const small = Math.max(((1 - alphaBarPrev) / betaBar) * beta, 1e-20);
    const variance = config.variance_type === "fixed_large" ? beta : small;
    const drawsNoise = t > 0;
    return {
      clean: cleanFromPrediction(prediction, Math.sqrt(alphaBar), Math.sqrt(betaBar)),
      clip,
      next: { clean, sample, noise: drawsNoise ? Math.sqrt(variance) : 0 },
      history: [],
      drawsNoise,
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
