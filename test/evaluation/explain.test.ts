import { expect, test } from "vitest";
import { betterThan, explainScores, percentText, shareBelow, thresholdTable } from "#laurel/evaluation/explain";

const REFERENCE = {
  pictures: "the pictures of a test",
  source: "made up",
  points: [
    { score: -1, share: 0.1 },
    { score: 0, share: 0.5 },
    { score: 2, share: 0.9 },
  ],
};

test("a percentile is the share of the others that score less, a tie counting half", () => {
  expect(explainScores([3, 1, 2, 2, null]).map(({ percentile }) => percentile)).toEqual([100, 0, 50, 50, null]);
  expect(explainScores([7])).toEqual([{ percentile: null, referencePercentile: null }]);
});

test("a reference is read off straight lines between its points, and ends with them", () => {
  expect([-9, -1, -0.25, 0, 1, 2, 9].map((score) => shareBelow(REFERENCE, score))).toEqual([
    0.1, 0.1, 0.4, 0.5, 0.7, 0.9, 0.9,
  ]);
  expect(explainScores([1, null], REFERENCE).map((one) => one.referencePercentile)).toEqual([70, null]);
  expect(betterThan(REFERENCE, 70)).toBe("better than 70 % of the pictures of a test");
});

test("steps of a reference, where many pictures scored the same, are taken whole", () => {
  const steps = { ...REFERENCE, points: [{ score: 0, share: 0 }, { score: 1, share: 0.2 }, { score: 1, share: 0.8 }, { score: 2, share: 1 }] }; // prettier-ignore
  expect([0.5, 1, 1.5].map((score) => shareBelow(steps, score))).toEqual([0.1, 0.8, 0.9]);
});

test("all and none are not claimed", () => {
  expect([0, 0.4, 0.6, 84.4, 99.4, 99.6, 100].map(percentText)).toEqual([
    "under 1 %",
    "under 1 %",
    "1 %",
    "84 %",
    "99 %",
    "over 99 %",
    "over 99 %",
  ]);
});

test("thresholds are round, and each tells how many pictures score as much", () => {
  const near = (value: number): number => expect.closeTo(value, 10) as number;
  expect(thresholdTable([0.05, 0.3, 0.5, 0.95, null], REFERENCE)).toEqual([
    { threshold: 0.2, kept: 3, share: 0.75, referenceShare: near(0.46) },
    { threshold: 0.4, kept: 2, share: 0.5, referenceShare: near(0.42) },
    { threshold: 0.6, kept: 1, share: 0.25, referenceShare: near(0.38) },
    { threshold: 0.8, kept: 1, share: 0.25, referenceShare: near(0.34) },
  ]);
  const rows = thresholdTable(Array.from({ length: 100 }, (_, i) => (i - 50) / 20));
  expect(rows.map(({ threshold, kept }) => [threshold, kept])).toEqual([
    [-2, 90],
    [-1, 70],
    [0, 50],
    [1, 30],
    [2, 10],
  ]);
  expect(thresholdTable([1, 1, null])).toEqual([]);
  expect(thresholdTable([])).toEqual([]);
});

test("between any two scores there are 3 to 11 thresholds, within them, each written short", () => {
  for (const [low, high] of [
    [0.1, 0.5],
    [-3, 7],
    [1e-7, 3e-7],
    [0.21, 0.219],
    [-2.5, -2.1],
    [0, 1],
  ] as const) {
    // prettier-ignore
    const thresholds = thresholdTable([low, high]).map(({ threshold }) => threshold);
    expect(thresholds.length).toBeGreaterThanOrEqual(3);
    expect(thresholds.length).toBeLessThanOrEqual(11);
    const step = (high - low) / 1000;
    for (const one of thresholds) {
      expect(one).toBeGreaterThanOrEqual(low - step);
      expect(one).toBeLessThanOrEqual(high + step);
      expect(String(one).length).toBeLessThanOrEqual(7);
    }
  }
});
