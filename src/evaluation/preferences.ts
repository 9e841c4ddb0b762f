/** @file How well scores agree with people's rankings of pictures: preference accuracy, recall@k, filter@k (Xu et al., arXiv 2304.05977, Table 3). */

import { bootstrap, type Interval, mean } from "../util/statistics.js";

/** The k of recall@k and filter@k, as in the paper. */
export const CHOSEN_COUNTS: readonly (keyof SharesByCount)[] = [1, 2, 4];

/** The pictures of one prompt, ranked by people and scored by a model. */
export interface JudgedPictures {
  /** One a picture, lower is better; equal where people saw no difference. */
  readonly ranking: readonly number[];
  /** One a picture, higher is better; NaN for a picture without a score, which is never right. */
  readonly scores: readonly number[];
}

/** A share of prompts. */
export interface PromptShare extends Interval {
  /** Prompts it is over: those with more than k pictures among which people saw a difference. */
  readonly prompts: number;
}

/** A share for each k of the paper. */
export type SharesByCount = Readonly<Record<1 | 2 | 4, PromptShare>>;

/** Shares in [0, 1], with 95 % intervals by bootstrap over prompts; NaN where there is nothing to count. */
export interface PreferenceFigures {
  readonly prompts: number;
  /** Pairs of pictures of one prompt that people ranked differently. */
  readonly pairs: number;
  /** Pairs that people ranked alike: left out. */
  readonly ties: number;
  /** Share of `pairs`, all prompts together, whose better picture has the higher score. */
  readonly accuracy: Interval;
  /** Share of prompts of which a best picture by people is among the k highest scores. */
  readonly recall: SharesByCount;
  /** Share of prompts of which a worst picture by people is among the k lowest scores. */
  readonly filter: SharesByCount;
}

/**
 * The figures of one model. As in ImageReward's own `acc` (test.py), equal scores of a pair count as wrong; in the same spirit a picture that people put
 * first is among the k highest only if fewer than k of those that they did not put first score as high.
 */
export function preferenceFigures(judged: readonly JudgedPictures[]): PreferenceFigures {
  const counts = judged.map(countPairs);
  const hits = (chosen: "best" | "worst"): SharesByCount =>
    byCount((k) => shareOf(countable(judged, k), (one) => Number(rivals(one, chosen) < k)));
  return {
    prompts: judged.length,
    pairs: sum(counts, "pairs"),
    ties: sum(counts, "ties"),
    accuracy: bootstrap(counts, (sample) => sum(sample, "right") / sum(sample, "pairs")),
    recall: hits("best"),
    filter: hits("worst"),
  };
}

/** What scores by chance give on the same prompts: the same figures, exact. */
export function chanceFigures(judged: readonly Pick<JudgedPictures, "ranking">[]): PreferenceFigures {
  const counts = judged.map(({ ranking }) => countPairs({ ranking, scores: ranking }));
  const pairs = sum(counts, "pairs");
  const hits = (extreme: typeof best): SharesByCount =>
    byCount((k) => {
      const prompts = countable(judged, k);
      return exactly(
        mean(prompts.map(({ ranking }) => chanceOf(ranking.length, extreme(ranking).size, k))),
        prompts.length,
      );
    });
  return {
    prompts: judged.length,
    pairs,
    ties: sum(counts, "ties"),
    accuracy: { estimate: pairs === 0 ? Number.NaN : 0.5, low: 0.5, high: 0.5 },
    recall: hits(best),
    filter: hits(worst),
  };
}

/** Pairs of one prompt. */
interface PairCounts {
  readonly right: number;
  readonly pairs: number;
  readonly ties: number;
}

function countPairs({ ranking, scores }: JudgedPictures): PairCounts {
  const counts = { right: 0, pairs: 0, ties: 0 };
  for (let i = 0; i < ranking.length; i++) {
    for (let j = i + 1; j < ranking.length; j++) {
      if (ranking[i] === ranking[j]) {
        counts.ties++;
        continue;
      }
      const [better, other] = ranking[i]! < ranking[j]! ? [i, j] : [j, i];
      counts.pairs++;
      counts.right += Number(scores[better]! > scores[other]!);
    }
  }
  return counts;
}

function sum(counts: readonly PairCounts[], key: keyof PairCounts): number {
  return counts.reduce((total, one) => total + one[key], 0);
}

/** Where choosing k is a choice: fewer than all pictures, and not all the same to people. */
function countable<One extends Pick<JudgedPictures, "ranking">>(judged: readonly One[], k: number): One[] {
  return judged.filter(({ ranking }) => ranking.length > k && best(ranking).size < ranking.length);
}

/** Least number of pictures, outside those that people put first (or last), that the scores do not put behind (or before) one of them. */
function rivals({ ranking, scores }: JudgedPictures, chosen: "best" | "worst"): number {
  const wanted = (chosen === "best" ? best : worst)(ranking);
  const sign = chosen === "best" ? 1 : -1;
  const others = scores.filter((_, i) => !wanted.has(i));
  return Math.min(...[...wanted].map((i) => others.filter((other) => !(sign * scores[i]! > sign * other)).length));
}

/** Pictures that people put first. */
function best(ranking: readonly number[]): Set<number> {
  return placed(ranking, Math.min(...ranking));
}

/** Pictures that people put last. */
function worst(ranking: readonly number[]): Set<number> {
  return placed(ranking, Math.max(...ranking));
}

function placed(ranking: readonly number[], place: number): Set<number> {
  return new Set(ranking.flatMap((one, i) => (one === place ? i : [])));
}

/** Probability that k of n pictures, drawn at random, hold one of m. */
function chanceOf(n: number, m: number, k: number): number {
  let none = 1;
  for (let i = 0; i < k; i++) none *= Math.max(0, n - m - i) / (n - i);
  return 1 - none;
}

function byCount(share: (k: number) => PromptShare): SharesByCount {
  return Object.fromEntries(CHOSEN_COUNTS.map((k) => [k, share(k)])) as unknown as SharesByCount;
}

function shareOf<One>(prompts: readonly One[], hit: (one: One) => number): PromptShare {
  return { ...bootstrap(prompts.map(hit), mean), prompts: prompts.length };
}

function exactly(value: number, prompts: number): PromptShare {
  return { estimate: value, low: value, high: value, prompts };
}
