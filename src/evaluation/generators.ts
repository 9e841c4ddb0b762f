/** @file How well a reward orders generators as people do: mean scores and rank correlation (Xu et al., arXiv 2304.05977, Table 1). */

import { bootstrap, type Interval, mean } from "../util/statistics.js";

/** A generator as people and a reward see it. */
export interface JudgedGenerator {
  readonly name: string;
  /** People's opinion: higher is better (wins, a win rate, a rank with its sign turned). */
  readonly opinion: number;
  /** Mean score of its pictures for each prompt, in the same order of prompts for every generator. */
  readonly means: readonly number[];
}

/** A generator's place. */
export interface GeneratorFigures {
  readonly name: string;
  /** By people, 1 is best; equal opinions share the mean of their places. */
  readonly humanRank: number;
  /** By mean score, 1 is best. */
  readonly rank: number;
  /** Mean over prompts of the mean score of a prompt's pictures, with its 95 % interval over prompts. */
  readonly score: Interval;
}

/** What {@link agreementOfGenerators} gives. */
export interface GeneratorAgreement {
  /** In people's order. */
  readonly generators: readonly GeneratorFigures[];
  /** Spearman's correlation of mean scores with people's opinion, in [-1, 1], with its 95 % interval over prompts; NaN where one of them is all equal. */
  readonly spearman: Interval;
}

/** Compares a reward's mean scores of generators with people's opinion. Intervals are by bootstrap over prompts, the same ones for all generators. */
export function agreementOfGenerators(generators: readonly JudgedGenerator[]): GeneratorAgreement {
  const opinions = generators.map(({ opinion }) => opinion);
  const prompts = Array.from({ length: generators[0]?.means.length ?? 0 }, (_, i) => i);
  const meansOver = (sample: readonly number[]): number[] =>
    generators.map(({ means }) => mean(sample.map((prompt) => means[prompt]!)));
  const humanRanks = placesOf(opinions);
  const ranks = placesOf(meansOver(prompts));
  return {
    generators: generators
      .map(({ name, means }, i) => ({
        name,
        humanRank: humanRanks[i]!,
        rank: ranks[i]!,
        score: bootstrap(means, mean),
      }))
      .sort((a, b) => a.humanRank - b.humanRank),
    spearman: bootstrap(prompts, (sample) => spearman(opinions, meansOver(sample))),
  };
}

/** Spearman's rank correlation: Pearson's of the places, with the mean place for equal values. NaN when either list is all equal or shorter than two. */
export function spearman(a: readonly number[], b: readonly number[]): number {
  const [x, y] = [placesOf(a), placesOf(b)];
  const middle = (a.length + 1) / 2;
  const product = (u: readonly number[], v: readonly number[]): number =>
    u.reduce((total, one, i) => total + (one - middle) * (v[i]! - middle), 0);
  return product(x, y) / Math.sqrt(product(x, x) * product(y, y));
}

/** The place of each value, 1 for the highest; equal values share the mean of their places. */
function placesOf(values: readonly number[]): number[] {
  return values.map((value) => {
    const above = values.filter((other) => other > value).length;
    const equal = values.filter((other) => other === value).length;
    return above + (equal + 1) / 2;
  });
}
