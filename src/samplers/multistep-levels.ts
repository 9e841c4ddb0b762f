/** @file Timesteps and noise levels of the multistep solvers in log signal-to-noise: DPM-Solver++ and UniPC. */

import { ModelError, UsageError } from "../errors.js";
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

/** A point of the trajectory: x = alpha x0 + sigma eps with alpha^2 + sigma^2 = 1, lambda = log(alpha / sigma). */
export interface MultistepLevel {
  readonly alpha: number;
  readonly sigma: number;
  readonly lambda: number;
}

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

/** Timesteps and noise levels sigma / alpha; the levels are one more: the last is what the trajectory ends at. */
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

/**
 * The levels of `steps` steps, one more than the timesteps.
 * @throws UsageError for a step count out of range, ModelError for a schedule whose noise does not fall
 */
export function multistepLevels(
  config: SchedulerConfig,
  steps: number,
): { readonly timesteps: readonly number[]; readonly levels: readonly MultistepLevel[] } {
  checkSteps(steps, config.num_train_timesteps - 1);
  const { timesteps, sigmas } = schedule(config, steps);
  if (timesteps[0]! >= config.num_train_timesteps) {
    throw new UsageError(`steps: expected fewer with steps_offset ${config.steps_offset}, got ${steps}`);
  }
  const levels = sigmas.map((level) => {
    const alpha = 1 / Math.sqrt(level * level + 1);
    return { alpha, sigma: level * alpha, lambda: Math.log(alpha) - Math.log(level * alpha) };
  });
  const rises = levels.some(({ lambda }, i) => i > 0 && !(lambda >= levels[i - 1]!.lambda));
  if (rises || timesteps.some((t) => t < 0)) {
    throw new ModelError(
      `noise schedule: expected levels that fall over ${steps} steps, got ${sigmas.join(", ")} (betas, lambda_min_clipped)`,
    );
  }
  return { timesteps, levels };
}

/** What a picture is noised with to enter at each timestep. */
export function noisingOfLevels(levels: readonly MultistepLevel[]): { sample: number; noise: number }[] {
  return levels.slice(0, -1).map(({ alpha, sigma }) => ({ sample: alpha, noise: sigma }));
}
