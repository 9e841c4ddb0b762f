import { expect, test } from "vitest";
import { effectiveSampleSize, fromLogarithms, systematicResample } from "#laurel/strategies/search/resample";

test("the effective sample size is the count for equal weights, and one where one weight is all", () => {
  expect(effectiveSampleSize([2, 2, 2, 2])).toBe(4);
  expect(effectiveSampleSize([0, 5, 0])).toBe(1);
  // (1 + 2 + 3)^2 / (1 + 4 + 9)
  expect(effectiveSampleSize([1, 2, 3])).toBeCloseTo(36 / 14, 12);
  expect(effectiveSampleSize([0, 0])).toBe(0);
});

test("systematic resampling gives each particle the floor or the ceiling of its share, and its share on average", () => {
  const weights = [0.1, 0.45, 0.05, 0.4];
  const counts = [0, 0, 0, 0];
  const offsets = 1000;
  for (let i = 0; i < offsets; i++) {
    const places = systematicResample(weights, (i + 0.5) / offsets);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    weights.forEach((weight, particle) => {
      const times = places.filter((place) => place === particle).length;
      expect([Math.floor(4 * weight), Math.ceil(4 * weight)]).toContain(times);
      counts[particle]! += times;
    });
  }
  weights.forEach((weight, i) => expect(counts[i]! / offsets).toBeCloseTo(4 * weight, 2));
  expect(systematicResample([0, 0, 7], 0.3)).toEqual([2, 2, 2]);
});

test("weights of any size come from their logarithms; where all are lost all count alike", () => {
  expect(fromLogarithms([1000, 1000 - Math.log(2), -Infinity])).toEqual([1, expect.closeTo(0.5, 12), 0]);
  expect(fromLogarithms([-Infinity, -Infinity])).toEqual([1, 1]);
});
