/** @file The figures the demo models are judged by: alignment, what choosing by a reward gains, pair accuracy; with intervals over prompts. */

import type { Interval } from "../util/statistics.js";
import { bootstrap, mean } from "../util/statistics.js";

/** One generated image with the oracle's verdict and each reward's score of it. */
export interface JudgedImage {
  readonly verdict: "holds" | "fails" | "unreadable";
  /** Score by reward name, higher is better. */
  readonly scores: Readonly<Record<string, number>>;
}

/** The images of one round on a prompt. A prompt may come again with other seeds: the independent unit of every interval is the distinct prompt. */
export interface JudgedPrompt {
  readonly prompt: string;
  /** The prompt names two shapes and a relation. */
  readonly pair: boolean;
  readonly images: readonly JudgedImage[];
}

/** What choosing the best of N by one reward gives; all shares lie in [0, 1]. */
export interface RewardFigures {
  /** Share of prompts whose best-scored image holds. */
  readonly bestOfN: Interval;
  /** (best-of-N by this reward - single) / (oracle's best-of-N - single). */
  readonly captured: Interval;
  /** Share of same-prompt pairs of opposite verdict that the reward orders as the oracle does; equal scores count as wrong. */
  readonly pairAccuracy: Interval;
}

/** The figures of one evaluation. */
export interface DemoFigures {
  readonly prompts: number;
  readonly imagesPerPrompt: number;
  /** Share of single images in which all stated facts hold; unreadable counts as wrong. */
  readonly single: Interval;
  readonly singleOneShape: Interval;
  readonly singleTwoShapes: Interval;
  readonly unreadable: Interval;
  /** Share of prompts with at least one image that holds. */
  readonly oracleBestOfN: Interval;
  readonly rewards: Readonly<Record<string, RewardFigures>>;
}

const holds = (image: JudgedImage): number => (image.verdict === "holds" ? 1 : 0);
const singleOf = (prompts: readonly JudgedPrompt[]): number =>
  mean(prompts.map(({ images }) => mean(images.map(holds))));
const oracleOf = (prompts: readonly JudgedPrompt[]): number =>
  mean(prompts.map(({ images }) => Math.max(...images.map(holds))));

/** Whether the image with the highest score holds; the first one wins a tie, a score that is not a number never does. */
function chosenHolds(images: readonly JudgedImage[], reward: string): number {
  const score = (image: JudgedImage): number => {
    const value = image.scores[reward] ?? Number.NaN;
    return Number.isNaN(value) ? -Infinity : value;
  };
  return holds(images.reduce((best, image) => (score(image) > score(best) ? image : best)));
}

/** Right and all same-prompt pairs of opposite verdict. */
function countPairs(images: readonly JudgedImage[], reward: string): { right: number; all: number } {
  let right = 0;
  let all = 0;
  for (const good of images) {
    if (holds(good) === 0) continue;
    for (const bad of images) {
      if (holds(bad) === 1) continue;
      all++;
      if ((good.scores[reward] ?? Number.NaN) > (bad.scores[reward] ?? Number.NaN)) right++;
    }
  }
  return { right, all };
}

/** A 95 % bootstrap over distinct prompts: all rounds on one prompt are drawn together. */
function overPrompts(
  prompts: readonly JudgedPrompt[],
  statistic: (sample: readonly JudgedPrompt[]) => number,
): Interval {
  const units = new Map<string, JudgedPrompt[]>();
  for (const prompt of prompts) units.set(prompt.prompt, [...(units.get(prompt.prompt) ?? []), prompt]);
  return bootstrap([...units.values()], (sample) => statistic(sample.flat()));
}

function rewardFigures(prompts: readonly JudgedPrompt[], reward: string): RewardFigures {
  const chosen = (sample: readonly JudgedPrompt[]): number =>
    mean(sample.map(({ images }) => chosenHolds(images, reward)));
  const pairs = new Map(prompts.map((prompt) => [prompt, countPairs(prompt.images, reward)]));
  return {
    bestOfN: overPrompts(prompts, chosen),
    captured: overPrompts(prompts, (sample) => {
      const single = singleOf(sample);
      return (chosen(sample) - single) / (oracleOf(sample) - single);
    }),
    pairAccuracy: overPrompts(prompts, (sample) => {
      let right = 0;
      let all = 0;
      for (const prompt of sample) {
        const counted = pairs.get(prompt);
        right += counted?.right ?? 0;
        all += counted?.all ?? 0;
      }
      return right / all;
    }),
  };
}

/** Summarises judged images; see {@link overPrompts} for the intervals. */
export function demoFigures(prompts: readonly JudgedPrompt[]): DemoFigures {
  const rewards = Object.keys(prompts[0]?.images[0]?.scores ?? {});
  return {
    prompts: prompts.length,
    imagesPerPrompt: prompts[0]?.images.length ?? 0,
    single: overPrompts(prompts, singleOf),
    singleOneShape: overPrompts(
      prompts.filter(({ pair }) => !pair),
      singleOf,
    ),
    singleTwoShapes: overPrompts(
      prompts.filter(({ pair }) => pair),
      singleOf,
    ),
    unreadable: overPrompts(prompts, (sample) =>
      mean(sample.map(({ images }) => mean(images.map(({ verdict }) => (verdict === "unreadable" ? 1 : 0))))),
    ),
    oracleBestOfN: overPrompts(prompts, oracleOf),
    rewards: Object.fromEntries(rewards.map((reward) => [reward, rewardFigures(prompts, reward)])),
  };
}
