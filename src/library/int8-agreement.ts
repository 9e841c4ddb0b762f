/** @file How far the scores of a reward in int8 are from those in float32, on the caller's own images. */

import type { Reward, RewardOptions } from "../rewards/contract.js";
import { scoreFiles } from "./score-files.js";

/** Images that are scored in both. */
const SAMPLE = 16;
/** Below this Kendall tau the two orders differ enough to be told. */
const GOOD_TAU = 0.98;

/** What {@link int8Agreement} finds. */
export interface Int8Agreement {
  /** Images scored in both. */
  readonly images: number;
  /** Kendall's tau-b between the two orders, 1 for the same; null with fewer than two images, or where all scores of one side are equal. */
  readonly tau: number | null;
  /** The largest difference between two scores of one image. */
  readonly largestDifference: number;
  /** From the lowest score in float32 to the highest. */
  readonly spread: number;
}

/**
 * Scores a sample of image files in both, the float32 reward first; it is disposed of before the other is opened, so that only one is in memory.
 * @param open opens the reward in either dtype
 * @returns the agreement and the reward in int8
 * @throws CancelledError when `signal` aborts
 */
export async function int8Agreement<R extends Reward>(
  open: (dtype: "float32" | "int8") => Promise<R>,
  prompt: string,
  files: readonly string[],
  options: RewardOptions = {},
): Promise<{ readonly agreement: Int8Agreement; readonly reward: R }> {
  const sample = sampleOf(files);
  const scores = async (reward: Reward) => (await scoreFiles(reward, prompt, sample, options)).results;
  const exact = await open("float32");
  const expected = await scores(exact).finally(() => exact.dispose());
  const reward = await open("int8");
  const actual = await scores(reward);
  const pairs = expected.flatMap(({ score }, i) => {
    const other = actual[i]!.score;
    return score === null || other === null ? [] : [[score, other] as const];
  });
  return { agreement: agreementOf(pairs), reward };
}

/** Evenly spread over the files. */
function sampleOf(files: readonly string[]): string[] {
  const count = Math.min(SAMPLE, files.length);
  return Array.from({ length: count }, (_, i) => files[Math.floor((i * files.length) / count)]!);
}

/** Of scores in float32 and in int8, image by image. */
export function agreementOf(pairs: readonly (readonly [number, number])[]): Int8Agreement {
  const exact = pairs.map(([score]) => score);
  return {
    images: pairs.length,
    tau: kendallTau(pairs),
    largestDifference: Math.max(0, ...pairs.map(([a, b]) => Math.abs(a - b))),
    spread: pairs.length === 0 ? 0 : Math.max(...exact) - Math.min(...exact),
  };
}

/** The agreement in words, and a warning where it is poor. */
export function describeAgreement({ images, tau, largestDifference, spread }: Int8Agreement): {
  readonly line: string;
  readonly warning: string | undefined;
} {
  const order = tau === null ? "" : `Kendall tau ${tau.toFixed(3)}, `;
  const line = `int8 beside float32 on ${images} of these images: ${order}largest difference ${largestDifference.toFixed(4)} of a spread of ${spread.toFixed(4)}`;
  const poor = tau !== null && tau < GOOD_TAU;
  const warning = poor
    ? `int8 orders these images differently than float32 (Kendall tau ${tau.toFixed(3)}, expected at least ${GOOD_TAU}); leave --dtype int8 out where close scores matter`
    : undefined;
  return { line, warning };
}

/** (concordant - discordant) / sqrt(pairs not tied on one side * pairs not tied on the other). */
function kendallTau(pairs: readonly (readonly [number, number])[]): number | null {
  let [balance, first, second] = [0, 0, 0];
  for (let i = 0; i < pairs.length; i++) {
    for (let j = 0; j < i; j++) {
      const [a, b] = [Math.sign(pairs[i]![0] - pairs[j]![0]), Math.sign(pairs[i]![1] - pairs[j]![1])];
      balance += a * b;
      first += Math.abs(a);
      second += Math.abs(b);
    }
  }
  return first * second === 0 ? null : balance / Math.sqrt(first * second);
}
