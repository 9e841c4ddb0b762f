/** @file DPM-Solver++ 2M, the multistep second-order solver (Lu et al., arXiv 2211.01095, algorithm 2). */

import { UsageError } from "../errors.js";
import type { Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { cleanFromPrediction } from "./contract.js";
import { createAlphaBars, createSigmas } from "./noise-schedule.js";
import type { SchedulerConfig } from "./scheduler-config.js";
import {
  checkSteps,
  interpolate,
  karrasSigmas,
  linspace,
  roundHalfEven,
  timestepOfSigma,
  trailingTimesteps,
} from "./timesteps.js";

/** How many training timesteps remain when those with lambda below `lambda_min_clipped` are left out. */
function lastTimestep(config: SchedulerConfig): number {
  const total = config.num_train_timesteps;
  if (config.lambda_min_clipped === -Infinity) return total;
  const lambdas = createAlphaBars(config).map(
    (alphaBar) => Math.log(Math.sqrt(alphaBar)) - Math.log(Math.sqrt(1 - alphaBar)),
  );
  return lambdas.filter((lambda) => lambda >= config.lambda_min_clipped).length;
}

/** The spread differs from the other samplers': one more than `steps` points, of which the last (t = 0) is not visited. */
function spread(config: SchedulerConfig, steps: number): number[] {
  const last = lastTimestep(config);
  const spacing = config.timestep_spacing ?? "linspace";
  switch (spacing) {
    case "linspace":
      return linspace(0, last - 1, steps + 1)
        .map(roundHalfEven)
        .reverse()
        .slice(0, -1);
    case "leading": {
      const ratio = Math.floor(last / (steps + 1));
      return Array.from({ length: steps }, (_, i) => (steps - i) * ratio + config.steps_offset);
    }
    case "trailing":
      return trailingTimesteps(last, config.num_train_timesteps / steps);
    default:
      return spacing satisfies never;
  }
}

/** Timesteps and noise levels; the levels are one more: the last is what the trajectory ends at. */
function schedule(config: SchedulerConfig, steps: number): { timesteps: number[]; sigmas: number[] } {
  const table = createSigmas(config);
  const end = config.final_sigmas_type === "zero" ? 0 : table[0]!;
  if (config.use_karras_sigmas) {
    const sigmas = karrasSigmas(table[0]!, table[table.length - 1]!, steps);
    const exact = sigmas.map((sigma) => timestepOfSigma(table, sigma));
    const timesteps = exact.map(config.beta_schedule === "squaredcos_cap_v2" ? Math.trunc : roundHalfEven);
    return { timesteps, sigmas: [...sigmas, end].map(Math.fround) };
  }
  const timesteps = spread(config, steps);
  return { timesteps, sigmas: [...timesteps.map((t) => interpolate(table, t)), end].map(Math.fround) };
}

/** Symbols: sigma/alpha with alpha^2 + sigma^2 = 1 from the level s (s = sigma / alpha), lambda = log(alpha / sigma), h = lambda_next - lambda. */
export const createDpmpp2m: SamplerFactory = (config, steps): Sampler => {
  checkSteps(steps, config.num_train_timesteps - 1);
  const { timesteps, sigmas } = schedule(config, steps);
  if (timesteps[0]! >= config.num_train_timesteps) {
    throw new UsageError(`steps: expected fewer with steps_offset ${config.steps_offset}, got ${steps}`);
  }
  const count = timesteps.length;
  const levels = sigmas.map((level) => {
    const alpha = 1 / Math.sqrt(level * level + 1);
    return { alpha, sigma: level * alpha, lambda: Math.log(alpha) - Math.log(level * alpha) };
  });

  const coefficients = timesteps.map((_, i): StepCoefficients => {
    const now = levels[i]!;
    const next = levels[i + 1]!;
    // 1. x0 from the denoiser's output
    const clean = cleanFromPrediction(config.prediction_type, now.alpha, now.sigma);

    // 2. first order (eq. 9, the same as DDIM): x_next = sigma_next / sigma x - alpha_next (e^-h - 1) x0
    const h = next.lambda - now.lambda;
    const decay = next.alpha * Math.expm1(-h);
    const final = i === count - 1;
    const lowered =
      final &&
      (config.euler_at_final || (config.lower_order_final && count < 15) || config.final_sigmas_type === "zero");
    let slope = 0;
    if (config.solver_order === 2 && i > 0 && !lowered) {
      // 3. second order (eq. 12): D1 = (x0 - x0') / r with r = h_before / h, weighted -alpha_next (e^-h - 1) / 2 (midpoint)
      //    or alpha_next ((e^-h - 1) / h + 1) (heun)
      const r = (now.lambda - levels[i - 1]!.lambda) / h;
      const weight = config.solver_type === "midpoint" ? -0.5 * decay : decay / h + next.alpha;
      slope = weight / r;
    }
    return {
      clean,
      clip: undefined,
      next: { clean: slope - decay, sample: next.sigma / now.sigma, output: 0, previousClean: 0 - slope, noise: 0 },
      drawsNoise: false,
    };
  });
  return { timesteps, initialScale: 1, inputScales: timesteps.map(() => 1), steps: coefficients };
};
