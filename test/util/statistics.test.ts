import { describe, expect, it } from "vitest";
import { bootstrap, mean, median, quantile } from "#laurel/util/statistics";

describe("statistics", () => {
  it("interpolates quantiles between order statistics", () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([1, 2, 3, 4, 5], 0.25)).toBe(2);
    expect(median([3])).toBe(3);
    expect(mean([])).toBeNaN();
  });

  it("gives the normal interval for a mean of many coin flips", () => {
    const flips = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 1 : 0));
    const { estimate, low, high } = bootstrap(flips, mean);
    const halfWidth = 1.96 * Math.sqrt((0.25 * 0.75) / 400);
    expect(estimate).toBe(0.25);
    // 2,000 resamples: the ends themselves scatter by about 3 % of the half width
    expect(Math.abs(low - (0.25 - halfWidth))).toBeLessThan(0.3 * halfWidth);
    expect(Math.abs(high - (0.25 + halfWidth))).toBeLessThan(0.3 * halfWidth);
  });

  it("gives the same interval each time", () => {
    expect(bootstrap([1, 5, 2, 8], mean)).toEqual(bootstrap([1, 5, 2, 8], mean));
  });
});
