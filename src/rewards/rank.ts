/** @file Ranks from scores, as ImageReward's `inference_rank` gives them. */

/**
 * The rank of each score: 1 is the best. Equal scores rank in their order; scores that are not numbers rank last.
 * Source: `ImageReward.inference_rank`, ImageReward/ImageReward.py at v1.5.
 */
export function inferenceRank(scores: readonly number[]): number[] {
  const worth = (index: number): number => (Number.isNaN(scores[index]) ? -Infinity : scores[index]!);
  const order = scores
    .map((_, index) => index)
    .sort((a, b) => {
      const difference = worth(b) - worth(a);
      return Number.isNaN(difference) || difference === 0 ? a - b : difference;
    });
  const ranks = new Array<number>(scores.length);
  order.forEach((index, position) => (ranks[index] = position + 1));
  return ranks;
}
