/** @file What previews say of finished pictures: measured on pictures that were drawn to the end, with a look at them on the way. */

import { mean } from "../../util/statistics.js";

/** How well the previews of one entry tell which picture will be best. */
export interface PreviewFidelity {
  /** Entries of the sampler done. */
  readonly entry: number;
  /** Spearman's correlation of preview scores and final scores within a prompt. */
  readonly rankCorrelation: number;
  /** What the picture with the best preview lacks to the best picture, in the reward's units, mean over the prompts. */
  readonly regret: number;
}

/** Pictures of one or more prompts, observed at the same entries. Groups are the pictures of one prompt: only within one do scores compare. */
export class Calibration {
  readonly grid: readonly number[];
  /** Of each prompt's pictures, the scores of the previews at the grid's entries, then that of the picture. */
  readonly #groups: (readonly (readonly number[])[])[] = [];

  /** @param grid entries of the sampler after which pictures are looked at, rising */
  constructor(grid: readonly number[]) {
    this.grid = grid;
  }

  /** Pictures observed so far. */
  get size(): number {
    return this.#groups.reduce((sum, group) => sum + group.length, 0);
  }

  /** The pictures that were added last, in the form that `add` takes. */
  get last(): readonly (readonly number[])[] {
    return this.#groups.at(-1) ?? [];
  }

  /** Adds the pictures of a prompt: of each, its scores at the grid and at the end. Pictures with a score that is no number are left out. */
  add(pictures: readonly (readonly (number | null)[])[]): void {
    const sound = pictures.filter((scores): scores is readonly number[] => scores.every((score) => score !== null));
    if (sound.length >= 2) this.#groups.push(sound);
  }

  /** The fidelity at each entry of the grid; none before there are pictures. */
  fidelity(): PreviewFidelity[] {
    const last = this.grid.length;
    return this.#groups.length === 0
      ? []
      : this.grid.map((entry, i) => {
          const correlations: number[] = [];
          const regrets: number[] = [];
          for (const group of this.#groups) {
            const [preview, final] = [group.map((scores) => scores[i]!), group.map((scores) => scores[last]!)];
            correlations.push(correlation(ranks(preview), ranks(final)) * group.length);
            regrets.push(Math.max(...final) - final[preview.indexOf(Math.max(...preview))]!);
          }
          return { entry, rankCorrelation: correlations.reduce((a, b) => a + b, 0) / this.size, regret: mean(regrets) };
        });
  }

  /**
   * Correlations of all scores within their prompts, of normal scores (ranks as normal quantiles), so that an outlier counts as little as in rank
   * correlations: [grid + 1][grid + 1], the final score last.
   */
  correlations(): number[][] {
    const columns = Array.from({ length: this.grid.length + 1 }, (_, column) =>
      this.#groups.flatMap((group) => normalScores(group.map((scores) => scores[column]!))),
    );
    return columns.map((a) => columns.map((b) => correlation(a, b)));
  }
}

/** Ranks from 0; equal values share the mean of theirs. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const result = new Array<number>(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) result[order[i]!] = (start + end - 1) / 2;
    start = end;
  }
  return result;
}

/** Pearson's correlation; 0 where one side does not vary. */
export function correlation(a: readonly number[], b: readonly number[]): number {
  const [meanA, meanB] = [mean(a), mean(b)];
  let [product, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]! - meanA, b[i]! - meanB];
    product += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  return squareA === 0 || squareB === 0 ? 0 : product / Math.sqrt(squareA * squareB);
}

/** Blom's approximation of the expected order statistics of a normal sample, with a mean of 0. */
function normalScores(values: readonly number[]): number[] {
  const n = values.length;
  return ranks(values).map((rank) => normalQuantile((rank + 1 - 0.375) / (n + 0.25)));
}

/** The inverse of the normal distribution function, to 5e-4 (Abramowitz and Stegun 26.2.23). */
function normalQuantile(p: number): number {
  const t = Math.sqrt(-2 * Math.log(Math.min(p, 1 - p)));
  const upper =
    t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + 1.432788 * t + 0.189269 * t * t + 0.001308 * t ** 3);
  return p < 0.5 ? -upper : upper;
}
