import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { chanceFigures, type JudgedPictures, preferenceFigures } from "#laurel/evaluation/preferences";

/** Worked by hand in the tests below. */
const JUDGED: readonly JudgedPictures[] = [
  // strict pairs: 0>1 wrong, 0>2 right, 0>3 equal, 0>4 right, 1>3 right, 1>4 right, 2>3 wrong, 2>4 wrong, 3>4 right
  { ranking: [1, 2, 2, 4, 5], scores: [0.5, 0.9, 0.1, 0.5, 0.3] },
  // both strict pairs wrong; two pictures share the first place
  { ranking: [2, 1, 1], scores: [3, 1, 2] },
  // people saw no difference
  { ranking: [1, 1], scores: [0, 1] },
];

test("accuracy counts pairs that people ranked differently; equal scores are wrong", () => {
  const { prompts, pairs, ties, accuracy } = preferenceFigures(JUDGED);
  expect([prompts, pairs, ties]).toEqual([3, 11, 3]);
  expect(accuracy.estimate).toBe(5 / 11);
  expect(accuracy.low).toBeLessThan(5 / 11);
  expect(accuracy.high).toBeGreaterThan(5 / 11);
});

test("recall@k and filter@k need fewer than k others that score as high, or as low, and more than k pictures", () => {
  const { recall, filter } = preferenceFigures(JUDGED);
  const shares = (figures: typeof recall): unknown =>
    ([1, 2, 4] as const).map((k) => [figures[k].estimate, figures[k].prompts]);
  // the first prompt's best has two pictures not below it, its worst one not above it; the second's have one and two
  expect(shares(recall)).toEqual([[0, 2], [1 / 2, 2], [1, 1]]); // prettier-ignore
  expect(shares(filter)).toEqual([[0, 2], [1 / 2, 2], [1, 1]]); // prettier-ignore
  const right = preferenceFigures([{ ranking: [3, 1, 2], scores: [-1, 1, 0] }]);
  expect([right.accuracy.estimate, right.recall[1].estimate, right.filter[1].estimate]).toEqual([1, 1, 1]);
});

test("chance is exact: drawing k of n pictures finds one of m best", () => {
  const { accuracy, recall, filter, pairs } = chanceFigures(JUDGED);
  expect([accuracy.estimate, pairs]).toEqual([0.5, 11]);
  expect(recall[1].estimate).toBeCloseTo((1 / 5 + 2 / 3) / 2, 12);
  expect(recall[2].estimate).toBeCloseTo((2 / 5 + 1) / 2, 12);
  expect(filter[1].estimate).toBeCloseTo((1 / 5 + 1 / 3) / 2, 12);
  expect(filter[4].estimate).toBeCloseTo(4 / 5, 12);
});

test("a picture without a score is never right, neither as the best nor as the worst", () => {
  const { accuracy, recall, filter } = preferenceFigures([{ ranking: [1, 2, 3], scores: [Number.NaN, 1, Number.NaN] }]);
  expect([accuracy.estimate, recall[2].estimate, filter[2].estimate]).toEqual([0, 0, 0]);
});

test("without a strict pair there is nothing to say", () => {
  const figures = preferenceFigures([JUDGED[2]!]);
  expect([figures.accuracy.estimate, figures.recall[1].estimate]).toEqual([Number.NaN, Number.NaN]);
  expect(chanceFigures([JUDGED[2]!]).accuracy.estimate).toBeNaN();
});

test("accuracy is that of ImageReward's own script on made-up scores with ties", async () => {
  const { cases } = JSON.parse(
    await readFile(new URL("../fixtures/evaluation/preferences.json", import.meta.url), "utf8"),
  ) as { cases: { judged: { ranking: number[]; rewards: number[] }[]; accuracy: number }[] };
  expect(cases).toHaveLength(3);
  for (const { judged, accuracy } of cases) {
    const entries = judged.map(({ ranking, rewards }) => ({ ranking, scores: rewards }));
    // both are one division of the same two counts
    expect(preferenceFigures(entries).accuracy.estimate).toBe(accuracy);
  }
  // the first case has scores on whole steps: taking equal scores for right would be seen
  const first = cases[0]!.judged.map(({ ranking, rewards }) => ({ ranking, scores: rewards.map((one, i) => one - 1e-9 * ranking[i]!) })); // prettier-ignore
  expect(preferenceFigures(first).accuracy.estimate).toBeGreaterThan(cases[0]!.accuracy + 0.05);
});

test("intervals are over prompts: the pairs of one prompt are no independent tries", () => {
  const ranking = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const right = { ranking, scores: ranking.map((one) => -one) };
  const wrong = { ranking, scores: ranking };
  const { pairs, accuracy } = preferenceFigures([right, right, right, right, right, wrong, wrong, wrong, wrong, wrong]);
  expect([pairs, accuracy.estimate]).toEqual([360, 0.5]);
  // ten tries at 0.5 lie within 0.2 to 0.8 (binomial, 2.5 % and 97.5 %); 360 would lie within 0.45 to 0.55
  expect(accuracy.low).toBeCloseTo(0.2, 10);
  expect(accuracy.high).toBeCloseTo(0.8, 10);
});
