/** @file DPM-Solver++ multistep, deterministic and stochastic, of order 1 to 3 (Lu et al., arXiv 2211.01095, algorithm 2 and appendix B). */

import type { LinearForm, Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { CLEAN, combine, difference, NOISE, register, SAMPLE } from "./linear-form.js";
import { multistepLevels, noisingOfLevels } from "./multistep-levels.js";
import { cleanFromPrediction } from "./prediction.js";
import type { SchedulerConfig } from "./scheduler-config.js";

/** Symbols: lambda = log(alpha / sigma), h = lambda_next - lambda; x0, x0', x0'' = clean predictions of this step and of those before (kept). */
export const createDpmppMultistep: SamplerFactory = (config, steps, { first }): Sampler => {
  const { timesteps, levels } = multistepLevels(config, steps);
  const stochastic = config.algorithm_type === "sde-dpmsolver++";
  const kept = config.solver_order - 1;

  const coefficients = timesteps.map((_, i): StepCoefficients => {
    const now = levels[i]!;
    const next = levels[i + 1]!;
    const order = Math.min(orderAt(config, i, timesteps.length), Math.max(i - first, 0) + 1);

    // 1. derivatives of x0 in lambda, in units of h: D1 = (x0 - x0') / r with r = h_before / h, D2 the second difference
    const h = next.lambda - now.lambda;
    const [slope, bend] = derivatives(order, i, h, (at) => levels[at]!.lambda);

    // 2. x_next = decay x + alpha_next (-E x0 + weights of D1 and D2), E = e^-H - 1; the stochastic solver has H = 2h and as much noise (eq. 18)
    const H = stochastic ? 2 * h : h;
    const E = Math.expm1(-H);
    // the reference's constant differs in sign for the stochastic solver of order 3
    const bendWeight = order === 3 ? -((E + H) / (H * H) + (stochastic ? 0.5 : -0.5)) : 0;
    const slopeWeight = order === 1 ? 0 : order === 2 && config.solver_type !== "heun" ? -0.5 * E : E / H + 1;
    const decay = (next.sigma / now.sigma) * (stochastic ? Math.exp(-h) : 1);
    return {
      clean: cleanFromPrediction(config.prediction_type, now.alpha, now.sigma),
      clip: undefined,
      next: combine(
        [-next.alpha * E, CLEAN],
        [next.alpha * slopeWeight, slope],
        [next.alpha * bendWeight, bend],
        [decay, SAMPLE],
        [stochastic ? next.sigma * Math.sqrt(-Math.expm1(-2 * h)) : 0, NOISE],
      ),
      history: [CLEAN, register(0)].slice(0, Math.min(kept, Math.max(i - first, 0) + 1)),
      drawsNoise: stochastic,
    };
  });
  return {
    timesteps,
    initialScale: 1,
    inputScales: timesteps.map(() => 1),
    steps: coefficients,
    noising: noisingOfLevels(levels),
  };
};

/** The order at step `i` as far as the end of the trajectory limits it. */
function orderAt(config: SchedulerConfig, i: number, count: number): number {
  const few = config.lower_order_final && count < 15;
  if (i === count - 1 && (config.euler_at_final || few || config.final_sigmas_type === "zero")) return 1;
  return i === count - 2 && few ? Math.min(config.solver_order, 2) : config.solver_order;
}

function derivatives(order: number, i: number, h: number, lambda: (at: number) => number): [LinearForm, LinearForm] {
  if (order === 1) return [{}, {}];
  const r0 = (lambda(i) - lambda(i - 1)) / h;
  const slope = combine([1 / r0, difference(CLEAN, register(0))]);
  if (order === 2) return [slope, {}];
  const r1 = (lambda(i - 1) - lambda(i - 2)) / h;
  const slopeBefore = combine([1 / r1, difference(register(0), register(1))]);
  const change = difference(slope, slopeBefore);
  return [combine([1, slope], [r0 / (r0 + r1), change]), combine([1 / (r0 + r1), change])];
}
