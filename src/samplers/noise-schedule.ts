/** @file Noise schedules: from a scheduler's betas to the cumulative products that every sampler reads, in float32 as the reference keeps them. */

import type { SchedulerConfig } from "./scheduler-config.js";

const { fround } = Math;

/**
 * `torch.linspace` in float32: counted from the start in the first half and from the end in the second, each value `fma`-rounded once.
 */
function linspace32(start: number, end: number, count: number): Float32Array {
  const first = fround(start);
  const last = fround(end);
  const step = count > 1 ? fround(fround(last - first) / (count - 1)) : 0;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    values[i] = i < Math.floor(count / 2) ? first + step * i : last - step * (count - i - 1);
  }
  return values;
}

/** alphaBar(t) of the cosine schedule (arXiv 2102.09672, eq. 17), t in [0, 1]. */
function cosineAlphaBar(t: number): number {
  return Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
}

/** beta_t, float32 [num_train_timesteps]; what the file leaves open is as in DDPMScheduler. */
function createBetas(config: SchedulerConfig): Float32Array {
  const {
    num_train_timesteps: count,
    beta_start: start = 0.0001,
    beta_end: end = 0.02,
    beta_schedule = "linear",
  } = config;
  switch (beta_schedule) {
    case "linear":
      return linspace32(start, end, count);
    case "scaled_linear":
      return linspace32(Math.sqrt(start), Math.sqrt(end), count).map((root) => root * root);
    case "squaredcos_cap_v2":
      return Float32Array.from({ length: count }, (_, i) =>
        Math.min(1 - cosineAlphaBar((i + 1) / count) / cosineAlphaBar(i / count), 0.999),
      );
    default:
      return beta_schedule satisfies never;
  }
}

/** prod(1 - beta) up to and including each timestep; the product is carried in double precision and stored in float32, as torch does. */
function cumulativeProduct(betas: Float32Array): Float32Array {
  let product = 1;
  return betas.map((beta) => (product *= fround(1 - beta)));
}

/** Betas shifted and scaled so that the last timestep holds no signal at all (arXiv 2305.08891, algorithm 1). */
function rescaleToZeroTerminalSnr(betas: Float32Array): Float32Array {
  const roots = cumulativeProduct(betas).map(Math.sqrt);
  const first = roots[0] ?? 1;
  const last = roots[roots.length - 1] ?? 0;
  const scale = fround(first / fround(first - last));
  const alphaBar = roots.map((root) => fround(fround(root - last) * scale) ** 2);
  return betas.map((_, i) => 1 - fround(alphaBar[i]! / (i === 0 ? 1 : alphaBar[i - 1]!)));
}

/**
 * alphaBar_t = prod_{s <= t} (1 - beta_s): the share of signal variance left at training timestep t, float32 [num_train_timesteps].
 * With `rescale_betas_zero_snr` the last one is 0.
 */
export function createAlphaBars(config: SchedulerConfig): Float32Array {
  const betas = createBetas(config);
  return cumulativeProduct(config.rescale_betas_zero_snr ? rescaleToZeroTerminalSnr(betas) : betas);
}

/**
 * sigma_t = sqrt((1 - alphaBar_t) / alphaBar_t), float32: the noise level in the variance-exploding view that Euler and DPM-Solver++ use.
 * A terminal alphaBar of 0 is replaced by 2^-24 so that the first sigma is finite, as diffusers does.
 */
export function createSigmas(config: SchedulerConfig): Float32Array {
  const alphaBars = createAlphaBars(config);
  if (config.rescale_betas_zero_snr) alphaBars[alphaBars.length - 1] = 2 ** -24;
  return alphaBars.map((alphaBar) => Math.sqrt(fround(fround(1 - alphaBar) / alphaBar)));
}
