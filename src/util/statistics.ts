/** @file Small statistics for reports: means, quantiles, bootstrap intervals. Deterministic: resampling uses a fixed stream. */

/** An estimate with its interval, in the unit of the estimate. */
export interface Interval {
  readonly estimate: number;
  readonly low: number;
  readonly high: number;
}

/** Arithmetic mean; NaN for an empty list. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ?? Number.NaN;
  return sum / values.length;
}

/** The q-quantile (0..1) by linear interpolation between order statistics; NaN for an empty list. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = q * (sorted.length - 1);
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

/** The middle value. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/**
 * Entropy in bits of what was counted, with the correction of Miller and Madow (1955) for small samples: (values seen - 1) / (2 n) nats are
 * added. 0 for no counts.
 */
export function entropyBits(counts: readonly number[]): number {
  const seen = counts.filter((count) => count > 0);
  const total = seen.reduce((sum, count) => sum + count, 0);
  if (total === 0) return 0;
  const plain = seen.reduce((sum, count) => sum - (count / total) * Math.log2(count / total), 0);
  return plain + (seen.length - 1) / (2 * total * Math.LN2);
}

/** A 32-bit generator (mulberry32) returning numbers in [0, 1): for resampling, not for noise that must match another library. */
export function smallRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Percentile bootstrap interval of a statistic over independent units (Efron 1979): units are drawn with replacement.
 *
 * @param units the independent units, for example one record per prompt
 * @param statistic computes the estimate from a list of units; resamples for which it is NaN are left out
 * @param options.confidence two-sided coverage, @default 0.95
 * @param options.resamples @default 2000
 */
export function bootstrap<T>(
  units: readonly T[],
  statistic: (sample: readonly T[]) => number,
  options: { confidence?: number; resamples?: number; seed?: number } = {},
): Interval {
  const { confidence = 0.95, resamples = 2000, seed = 1 } = options;
  const random = smallRandom(seed);
  const draws: number[] = [];
  for (let r = 0; r < resamples; r++) {
    const sample = units.map(() => units[Math.floor(random() * units.length)] as T);
    const value = statistic(sample);
    if (!Number.isNaN(value)) draws.push(value);
  }
  const tail = (1 - confidence) / 2;
  return { estimate: statistic(units), low: quantile(draws, tail), high: quantile(draws, 1 - tail) };
}
