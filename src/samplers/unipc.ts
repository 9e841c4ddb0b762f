/** @file UniPC, the unified predictor-corrector in its B(h) form for clean prediction (Zhao et al., arXiv 2302.04867, algorithms 5 to 8). */

import type { LinearForm, Sampler, SamplerFactory, StepCoefficients } from "./contract.js";
import { CLEAN, combine, difference, register, SAMPLE } from "./linear-form.js";
import { type MultistepLevel, multistepLevels, noisingOfLevels } from "./multistep-levels.js";
import { cleanFromPrediction } from "./prediction.js";
import type { SchedulerConfig } from "./scheduler-config.js";

/**
 * Each step first corrects the sample it was given, now that the denoiser has seen it, then predicts the next one: still one evaluation.
 * Registers: the corrected sample, then the clean predictions of the steps before, the latest first.
 */
export const createUnipc: SamplerFactory = (config, steps, { first }): Sampler => {
  const { timesteps, levels } = multistepLevels({ ...config, lambda_min_clipped: -Infinity }, steps);
  const count = timesteps.length;
  const orderAt = (i: number): number => {
    // a step to no noise at all is of first order; the reference's higher orders are not numbers there
    const limit = levels[i + 1]!.sigma === 0 ? 1 : config.lower_order_final ? count - i : Infinity;
    return Math.min(config.solver_order, limit, Math.max(i - first, 0) + 1);
  };
  const before = Array.from({ length: config.solver_order }, (_, k) => register(k + 1));

  const coefficients = timesteps.map((_, i): StepCoefficients => {
    const now = levels[i]!;
    // 1. corrector: the step that led here once more, with the clean prediction at its end
    const corrects = i > first && !config.disable_corrector.includes(i - 1);
    const sample = corrects ? correct(config, levels, i, orderAt(i - 1), before) : SAMPLE;
    // 2. predictor
    const cleans = [CLEAN, ...before].slice(0, orderAt(i));
    return {
      clean: cleanFromPrediction(config.prediction_type, now.alpha, now.sigma),
      clip: undefined,
      next: predict(config, levels, i, sample, cleans),
      history: [sample, CLEAN, ...before].slice(0, 1 + Math.min(config.solver_order, Math.max(i - first, 0) + 1)),
      drawsNoise: false,
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

/** UniP: from level `i` to the next. `cleans` are the clean predictions at `i`, `i - 1`, ..., as many as the order. */
function predict(
  config: SchedulerConfig,
  levels: readonly MultistepLevel[],
  i: number,
  sample: LinearForm,
  cleans: readonly LinearForm[],
): LinearForm {
  const order = cleans.length;
  const { base, B, ratios, moments } = expand(config, levels, i, order, sample, cleans[0]!);
  if (order === 1) return base;
  // for order 2 the reference takes the limit 1/2
  const weights = order === 2 ? [0.5] : solve(vandermonde(ratios, order - 1), moments.slice(0, order - 1));
  return combine(
    [1, base],
    ...cleans
      .slice(1)
      .map((clean, k): [number, LinearForm] => [(B * weights[k]!) / ratios[k]!, difference(clean, cleans[0]!)]),
  );
}

/** UniC: the sample at level `i` from the one at `i - 1`, given the clean prediction at `i`. `before` are registers: those at `i - 1`, `i - 2`, ... */
function correct(
  config: SchedulerConfig,
  levels: readonly MultistepLevel[],
  i: number,
  order: number,
  before: readonly LinearForm[],
): LinearForm {
  const latest = before[0]!;
  const { base, B, ratios, moments } = expand(config, levels, i - 1, order, register(0), latest);
  const weights = order === 1 ? [0.5] : solve(vandermonde([...ratios, 1], order), moments);
  const cleans = [...before.slice(1, order), CLEAN];
  const divisors = [...ratios, 1];
  return combine(
    [1, base],
    ...cleans.map((clean, k): [number, LinearForm] => [(B * weights[k]!) / divisors[k]!, difference(clean, latest)]),
  );
}

/**
 * What predictor and corrector share, from level `i` to `i + 1` with h = lambda_next - lambda:
 * base = sigma_next / sigma x - alpha_next (e^-h - 1) x0; B = -alpha_next B(h); ratios r_k = (lambda_(i-k) - lambda) / h; and the moments
 * k! phi_(k+1)(-h) / B(h) that the weights must reproduce (eq. 10), k = 1 to `order`.
 */
function expand(
  config: SchedulerConfig,
  levels: readonly MultistepLevel[],
  i: number,
  order: number,
  sample: LinearForm,
  clean: LinearForm,
): { base: LinearForm; B: number; ratios: number[]; moments: number[] } {
  const now = levels[i]!;
  const next = levels[i + 1]!;
  const h = next.lambda - now.lambda;
  const decay = Math.expm1(-h);
  const Bh = config.solver_type === "bh1" ? -h : decay;
  const moments: number[] = [];
  let phi = decay / -h - 1;
  let factorial = 1;
  for (let k = 1; k <= order; k++) {
    moments.push((phi * factorial) / Bh);
    factorial *= k + 1;
    phi = phi / -h - 1 / factorial;
  }
  return {
    base: combine([next.sigma / now.sigma, sample], [-next.alpha * decay, clean]),
    B: -next.alpha * Bh,
    ratios: Array.from({ length: order - 1 }, (_, k) => (levels[i - k - 1]!.lambda - now.lambda) / h),
    moments,
  };
}

/** Rows of powers: `ratios` to the power 0, 1, ..., `size - 1`. */
function vandermonde(ratios: readonly number[], size: number): number[][] {
  return Array.from({ length: size }, (_, power) => ratios.map((ratio) => ratio ** power));
}

/** Solves a small linear system by elimination with pivots. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  const size = rows.length;
  for (let column = 0; column < size; column++) {
    const candidates = rows.slice(column).map((row) => Math.abs(row[column]!));
    const pivot = column + candidates.indexOf(Math.max(...candidates));
    [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    const top = rows[column]!;
    rows.forEach((row, i) => {
      if (i === column) return;
      const factor = row[column]! / top[column]!;
      for (let j = column; j <= size; j++) row[j] = row[j]! - factor * top[j]!;
    });
  }
  return rows.map((row, i) => row[size]! / row[i]!);
}
