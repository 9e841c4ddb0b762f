/** @file Euler's method on the probability-flow equation (Karras et al., arXiv 2206.00364, algorithm 2 without churn), plain and ancestral. */

import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { combine, NOISE, SAMPLE } from "./linear-form.js";
import { derivative, inputScale, noiseLevels } from "./noise-levels.js";
import { cleanFromLevel } from "./prediction.js";
import type { SchedulerConfig } from "./scheduler-config.js";

/** Symbols: sigma = noise level at t, sigmaNext = at the following timestep; x_next = x + d (sigmaNext - sigma). */
export const createEuler: SamplerFactory = (config, steps): Sampler =>
  eulerSampler(config, steps, (sigma, sigmaNext) => ({
    next: combine([1, SAMPLE], [sigmaNext - sigma, derivative(config, sigma)]),
    drawsNoise: false,
  }));

/**
 * A step down to sigmaDown, below the following level, and fresh noise sigmaUp back up to it, with sigmaDown^2 + sigmaUp^2 = sigmaNext^2.
 * Source: ancestral sampling of DDPM in this view, as in k-diffusion's `get_ancestral_step` and diffusers' EulerAncestralDiscreteScheduler.
 */
export const createEulerAncestral: SamplerFactory = (config, steps): Sampler =>
  eulerSampler({ ...config, final_sigmas_type: "zero" }, steps, (sigma, sigmaNext) => {
    const { up, down } = ancestralLevels(sigma, sigmaNext);
    return {
      next: combine([1, SAMPLE], [down - sigma, derivative(config, sigma)], [up, NOISE]),
      drawsNoise: true,
    };
  });

/** The level to step down to and the noise to add, so that the variance is that of `to`. */
export function ancestralLevels(from: number, to: number): { readonly up: number; readonly down: number } {
  const up = Math.min(to, Math.sqrt((to ** 2 * (from ** 2 - to ** 2)) / from ** 2));
  return { up, down: Math.sqrt(to ** 2 - up ** 2) };
}

function eulerSampler(
  config: SchedulerConfig,
  steps: number,
  step: (sigma: number, sigmaNext: number) => Pick<StepCoefficients, "next" | "drawsNoise">,
): Sampler {
  const { timesteps, sigmas, initialScale } = noiseLevels(config, steps);
  const visited = sigmas.slice(0, -1);
  return {
    timesteps,
    initialScale,
    inputScales: visited.map(inputScale),
    steps: visited.map((sigma, i) => ({
      clean: cleanFromLevel(config.prediction_type, sigma),
      clip: undefined,
      history: [],
      ...step(sigma, sigmas[i + 1]!),
    })),
    noising: visited.map((noise) => ({ sample: 1, noise })),
  };
}
