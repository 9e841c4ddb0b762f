/** @file Multistep sampling of latent consistency models (Luo et al., arXiv 2310.04378, algorithm 3; skipping steps as in section 4.3). */

import { ModelError } from "../errors.js";
import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { CLEAN, combine, NOISE, SAMPLE } from "./linear-form.js";
import { createAlphaBars } from "./noise-schedule.js";
import { alphaBarAt, cleanFromPrediction, noisingOf } from "./prediction.js";
import { checkSteps } from "./timesteps.js";

/** The data's standard deviation in the boundary conditions c_skip and c_out. */
const SIGMA_DATA = 0.5;

/**
 * Every step predicts the clean sample, f = c_skip x + c_out x0, and noises it anew to the next timestep; the last one stays clean. The timesteps
 * are evenly spaced members of the schedule the model was distilled with, whatever the scheduler file's spacing.
 */
export const createLcm: SamplerFactory = (config, steps): Sampler => {
  const { num_train_timesteps: total, original_inference_steps: original, prediction_type } = config;
  if (original > total) {
    throw new ModelError(`original_inference_steps: expected at most num_train_timesteps (${total}), got ${original}`);
  }
  checkSteps(steps, original);
  const alphaBars = createAlphaBars(config);
  const skip = Math.floor(total / original);
  const timesteps = Array.from({ length: steps }, (_, i) => (original - Math.floor(i * (original / steps))) * skip - 1);
  const clip = (config.clip_sample ?? false) ? config.clip_sample_range : undefined;

  const coefficients = timesteps.map((t, i): StepCoefficients => {
    const alphaBar = alphaBarAt(alphaBars, t, prediction_type);
    const scaled = t * config.timestep_scaling;
    const skipWeight = SIGMA_DATA ** 2 / (scaled ** 2 + SIGMA_DATA ** 2);
    const outWeight = scaled / Math.sqrt(scaled ** 2 + SIGMA_DATA ** 2);
    const denoised = combine([outWeight, CLEAN], [skipWeight, SAMPLE]);
    const next = timesteps[i + 1];
    const alphaBarNext = next === undefined ? 1 : alphaBars[next]!;
    return {
      clean: cleanFromPrediction(prediction_type, Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)),
      clip,
      next: combine([Math.sqrt(alphaBarNext), denoised], [Math.sqrt(1 - alphaBarNext), NOISE]),
      history: [],
      drawsNoise: next !== undefined,
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
