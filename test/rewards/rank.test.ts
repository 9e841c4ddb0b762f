/** @file Ranks as ImageReward's inference_rank gives them. */

import { expect, test } from "vitest";
import { inferenceRank } from "#laurel/rewards/rank";

test.each([
  [[], []],
  [[0.5], [1]],
  [
    [0.1, 0.9, -2],
    [2, 1, 3],
  ],
  [
    [1, 2, 1, 2],
    [3, 1, 4, 2],
  ],
  [
    [Number.NaN, -5, Infinity, -Infinity],
    [3, 2, 1, 4],
  ],
])("%j -> %j: 1 is the best, equals keep their order, what is no number comes last", (scores, ranks) => {
  expect(inferenceRank(scores)).toEqual(ranks);
});
