/** @file The timesteps a sampler visits and their noise levels, with NumPy's rounding. */

import { UsageError } from "../errors.js";
import type { SchedulerConfig, TimestepSpacing } from "./scheduler-config.js";

/** Rounds halves to the even neighbour, as NumPy's `round` does. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const fraction = x - floor;
  if (fraction !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** `numpy.linspace(start, stop, count)`. One value is `start`. */
export function linspace(start: number, stop: number, count: number): number[] {
  const step = (stop - start) / Math.max(count - 1, 1);
  return Array.from({ length: count }, (_, i) => (i === count - 1 && i > 0 ? stop : i * step + start));
}

/** Checks a step count. @throws UsageError unless it is a whole number in [1, max] */
export function checkSteps(steps: number, max: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > max) {
    throw new UsageError(`steps: expected a whole number in [1, ${max}], got ${steps}`);
  }
}

/**
 * Spread of `steps` timesteps over [0, num_train_timesteps), descending (arXiv 2305.08891, table 2). `trailing` may give one more than asked when
 * the division does not come out even; the denoiser is then evaluated that often, as in diffusers.
 */
export function spacedTimesteps(
  config: SchedulerConfig,
  spacing: TimestepSpacing,
  steps: number,
  round: (x: number) => number = roundHalfEven,
): number[] {
  const total = config.num_train_timesteps;
  switch (spacing) {
    case "linspace":
      return linspace(0, total - 1, steps)
        .map(round)
        .reverse();
    case "leading": {
      const ratio = Math.floor(total / steps);
      return Array.from({ length: steps }, (_, i) => (steps - 1 - i) * ratio + config.steps_offset);
    }
    case "trailing":
      return trailingTimesteps(total, total / steps);
    default:
      return spacing satisfies never;
  }
}

/** `numpy.arange(last, 0, -ratio).round() - 1`. */
export function trailingTimesteps(last: number, ratio: number): number[] {
  const delta = last - ratio - last;
  return Array.from({ length: Math.ceil(last / ratio) }, (_, i) => roundHalfEven(last + i * delta) - 1);
}

/** `numpy.interp(x, arange(table.length), table)`. */
export function interpolate(table: Float32Array, x: number): number {
  const low = Math.min(Math.max(Math.floor(x), 0), table.length - 1);
  const high = Math.min(low + 1, table.length - 1);
  const lowValue = table[low]!;
  return lowValue + (table[high]! - lowValue) * Math.min(Math.max(x - low, 0), 1);
}

/** Noise levels spread by sigma^(1/7) from the highest to the lowest (arXiv 2206.00364, eq. 5 with rho = 7). */
export function karrasSigmas(lowest: number, highest: number, steps: number): number[] {
  const rho = 7;
  const maxRoot = highest ** (1 / rho);
  const minRoot = lowest ** (1 / rho);
  return linspace(0, 1, steps).map((ramp) => (maxRoot + ramp * (minRoot - maxRoot)) ** rho);
}

/** The training timestep (fractional) whose noise level is `sigma`, interpolated in log sigma over an ascending table. */
export function timestepOfSigma(sigmas: Float32Array, sigma: number): number {
  const target = Math.log(Math.max(sigma, 1e-10));
  let low = 0;
  while (low < sigmas.length - 2 && Math.log(sigmas[low + 1]!) <= target) low++;
  const lowLog = Math.log(sigmas[low]!);
  const highLog = Math.log(sigmas[low + 1]!);
  const weight = Math.min(Math.max((lowLog - target) / (lowLog - highLog), 0), 1);
  return (1 - weight) * low + weight * (low + 1);
}
