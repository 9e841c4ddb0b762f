import { expect, test } from "vitest";
import { agreementOfGenerators, spearman } from "#laurel/evaluation/generators";

/** Table 1 of the ImageReward paper: Openjourney, SD 2.1-base, DALL-E 2, SD 1.4, Versatile Diffusion, CogView 2. */
const WINS = [507, 463, 390, 362, 340, 74];
const TABLE_1 = {
  "ImageReward, real user prompts": [[0.2614, 0.2458, 0.2114, 0.1344, -0.247, -1.2376], 1],
  "CLIP, real user prompts": [[0.2726, 0.2683, 0.2684, 0.2763, 0.2606, 0.2044], 0.6],
  "ImageReward, MS-COCO": [[-0.0455, 0.1553, 0.5387, -0.0857, -0.5485, -0.851], 0.77],
  "FID, lower is better": [[-20.7, -18.8, -10.9, -17.9, -18.4, -26.2], 0.09],
} as const;

test.each(Object.entries(TABLE_1))("the published correlation of %s is reproduced", (_, [scores, published]) => {
  // printed with two digits
  expect(Math.abs(spearman(WINS, [...scores]) - published)).toBeLessThanOrEqual(0.005);
});

test("equal values share the mean of their places, as in scipy.stats.spearmanr", () => {
  // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4]).statistic, scipy 1.17.1
  expect(spearman([1, 2, 2, 4], [1, 3, 2, 4])).toBeCloseTo(0.9486832980505138, 12);
  expect(spearman([1, 1, 1], [1, 2, 3])).toBeNaN();
});

test("a generator's score is the mean over prompts, its place that of its score", () => {
  const { generators, spearman: agreement } = agreementOfGenerators([
    { name: "second", opinion: 10, means: [1, 3] },
    { name: "first", opinion: 20, means: [4, 6] },
    { name: "last", opinion: 1, means: [2, 4] },
  ]);
  expect(generators.map(({ name, humanRank, rank, score }) => [name, humanRank, rank, score.estimate])).toEqual([
    ["first", 1, 1, 5],
    ["second", 2, 3, 2],
    ["last", 3, 2, 3],
  ]);
  // 1 - 6 (0 + 1 + 1) / (3 (9 - 1)); every resample of prompts orders the means alike
  expect(agreement).toEqual({ estimate: 0.5, low: 0.5, high: 0.5 });
});
