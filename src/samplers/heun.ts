/** @file Heun's second-order method (Karras et al., arXiv 2206.00364, algorithm 1): two evaluations a step, one in the last. */

import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { combine, register, SAMPLE } from "./linear-form.js";
import { derivative, inputScale, noiseLevels } from "./noise-levels.js";
import { cleanFromLevel } from "./prediction.js";

/**
 * Each step: x' = x + dt d(x, sigma), then x_next = x + dt (d(x, sigma) + d(x', sigmaNext)) / 2. The last goes to sigma 0, where there is no
 * derivative, and stays at x'. Between the two evaluations x and d are kept.
 */
export const createHeun: SamplerFactory = (config, steps): Sampler => {
  const { timesteps, sigmas, initialScale } = noiseLevels({ ...config, final_sigmas_type: "zero" }, steps);
  const clip = (config.clip_sample ?? false) ? config.clip_sample_range : undefined;
  const [keptSample, keptDerivative] = [register(0), register(1)];

  const evaluations = timesteps.flatMap((t, i) => {
    const sigma = sigmas[i]!;
    const sigmaNext = sigmas[i + 1]!;
    const dt = sigmaNext - sigma;
    const common = { clip, drawsNoise: false };
    const slope = derivative(config, sigma, clip !== undefined);
    const predictor: StepCoefficients = {
      ...common,
      clean: cleanFromLevel(config.prediction_type, sigma),
      next: combine([1, SAMPLE], [dt, slope]),
      history: sigmaNext === 0 ? [] : [SAMPLE, slope],
    };
    if (sigmaNext === 0) return [{ t, sigma, step: predictor }];
    const slopeNext = derivative(config, sigmaNext, clip !== undefined);
    const corrector: StepCoefficients = {
      ...common,
      clean: cleanFromLevel(config.prediction_type, sigmaNext),
      next: combine([1, keptSample], [dt / 2, keptDerivative], [dt / 2, slopeNext]),
      history: [],
    };
    return [
      { t, sigma, step: predictor },
      { t: timesteps[i + 1]!, sigma: sigmaNext, step: corrector },
    ];
  });
  return {
    timesteps: evaluations.map(({ t }) => t),
    initialScale,
    inputScales: evaluations.map(({ sigma }) => inputScale(sigma)),
    steps: evaluations.map(({ step }) => step),
    noising: evaluations.map(({ sigma }) => ({ sample: 1, noise: sigma })),
  };
};
