/**
 * @file DPM-Solver++ SDE: the single-step second-order solver of the reverse diffusion (Lu et al., arXiv 2211.01095; in this stochastic form from
 * k-diffusion's `sample_dpmpp_sde`, diffusers' DPMSolverSDEScheduler). Two evaluations a step, one in the last.
 */

import type { LinearForm, Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { ancestralLevels } from "./euler.js";
import { CLEAN, combine, NOISE, register, SAMPLE } from "./linear-form.js";
import { inputScale, noiseLevels } from "./noise-levels.js";
import { cleanFromLevel } from "./prediction.js";

/**
 * Symbols: sigma, sigmaNext = noise levels of the step, middle = their geometric mean. With B a Brownian motion over the noise level, the half step
 * adds up * (B(sigma) - B(middle)) / sqrt(sigma - middle), the whole step up * (B(sigma) - B(sigmaNext)) / sqrt(sigma - sigmaNext): the two
 * intervals overlap. So the second evaluation uses the noise of the first again, z1, beside its own, z2, each weighted by its interval's share.
 */
export const createDpmppSde: SamplerFactory = (config, steps): Sampler => {
  const { timesteps, sigmas, initialScale, timestepOf } = noiseLevels(
    { ...config, final_sigmas_type: "zero" },
    steps,
    (t) => t,
  );
  const [keptSample, keptNoise] = [register(0), register(1)];

  const evaluations = timesteps.flatMap((t, i) => {
    const sigma = sigmas[i]!;
    const sigmaNext = sigmas[i + 1]!;
    const first = { clean: cleanFromLevel(config.prediction_type, sigma), clip: undefined };
    if (sigmaNext === 0) {
      const step: StepCoefficients = { ...first, next: CLEAN, history: [], drawsNoise: false };
      return [{ t, sigma, level: sigma, step }];
    }
    const middle = Math.sqrt(sigma * sigmaNext);
    const share = (sigma - middle) / (sigma - sigmaNext);
    const both = combine([Math.sqrt(share), keptNoise], [Math.sqrt(1 - share), NOISE]);
    const half: StepCoefficients = {
      ...first,
      next: ancestralStep(sigma, middle, SAMPLE, NOISE),
      history: [SAMPLE, NOISE],
      drawsNoise: true,
    };
    const whole: StepCoefficients = {
      clean: cleanFromLevel(config.prediction_type, middle),
      clip: undefined,
      next: ancestralStep(sigma, sigmaNext, keptSample, both),
      history: [],
      drawsNoise: true,
    };
    return [
      { t, sigma, level: sigma, step: half },
      // the reference noises a picture for this evaluation to the step's end, not to its middle
      { t: timestepOf(middle), sigma: middle, level: sigmaNext, step: whole },
    ];
  });
  return {
    timesteps: evaluations.map(({ t }) => t),
    initialScale,
    inputScales: evaluations.map(({ sigma }) => inputScale(sigma)),
    steps: evaluations.map(({ step }) => step),
    noising: evaluations.map(({ level }) => ({ sample: 1, noise: level })),
  };
};

/** The exact solution for a constant x0 down to the ancestral level, x_down = down / from x + (1 - down / from) x0, and noise back up. */
function ancestralStep(from: number, to: number, x: LinearForm, noise: LinearForm): LinearForm {
  const { up, down } = ancestralLevels(from, to);
  return combine([down / from, x], [1 - down / from, CLEAN], [up, noise]);
}
