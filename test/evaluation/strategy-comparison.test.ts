import { describe, expect, test } from "vitest";
import { compareStrategies, type ComparedArm, type StrategyTrial } from "#laurel/evaluation/strategy-comparison";
import { mean, quantile, smallRandom } from "#laurel/util/statistics";
import { GUIDE, inventTrial, inventTrials } from "./strategy-trials.js";

const zeros = (count: number): number[] => new Array<number>(count).fill(0);

/** Normal quantiles at the middles of `count` equal parts, scaled and shifted to a mean and a standard deviation. */
function spread(count: number, centre: number, deviation: number): number[] {
  const random = smallRandom(5);
  const normal = Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())); // prettier-ignore
  const middle = mean(normal);
  const size = Math.sqrt(mean(normal.map((value) => (value - middle) ** 2)));
  return normal.map((value) => centre + (deviation * (value - middle)) / size);
}

/** The guide of every strategy but the baseline, in order. */
function differences(trials: readonly StrategyTrial[]) {
  const { arms } = compareStrategies(trials, "best-of-n", [GUIDE]);
  return arms.flatMap(({ metrics }) => metrics["guide"]!.difference ?? []);
}

describe("intervals", () => {
  test("are those of all resamples there are, prompts as units", () => {
    // four distinct prompts, the last of which has three trials
    const groups = [[1], [3], [4], [10, 11, 15]];
    const trials = groups.flatMap((values, group) =>
      values.map((guide, i) => inventTrial({ index: 10 * group + i, prompt: `prompt ${group}`, metrics: { guide } })),
    );
    const exact: number[] = [];
    for (let code = 0; code < 4 ** 4; code++) {
      const drawn = [0, 1, 2, 3].flatMap((place) => groups[Math.floor(code / 4 ** place) % 4]!);
      exact.push(mean(drawn));
    }
    const { arms, prompts, descriptions } = compareStrategies(trials, "best-of-n", [GUIDE]);
    const { value } = arms[0]!.metrics["guide"]!;
    expect([prompts, descriptions]).toEqual([6, 4]);
    expect(value.estimate).toBeCloseTo(44 / 6, 12);
    // quantiles of few distinct values jump: the estimate lies between those of neighbouring levels
    expect(value.low).toBeGreaterThanOrEqual(quantile(exact, 0.02));
    expect(value.low).toBeLessThanOrEqual(quantile(exact, 0.03));
    expect(value.high).toBeGreaterThanOrEqual(quantile(exact, 0.97));
    expect(value.high).toBeLessThanOrEqual(quantile(exact, 0.98));
  });

  test("and p are those of a normal distribution where there are many prompts", () => {
    const [error, z] = [1 / Math.sqrt(400), 1.5];
    const [found] = differences([
      ...inventTrials("best-of-n", zeros(400)),
      ...inventTrials("halving", spread(400, z * error, 1)),
    ]);
    expect(found!.estimate).toBeCloseTo(z * error, 12);
    for (const { low, high } of [found!, found!.corrected]) {
      expect(low).toBeCloseTo((z - 1.96) * error, 2);
      expect(high).toBeCloseTo((z + 1.96) * error, 2);
    }
    expect(found!.p).toBeGreaterThan(0.115); // 2 (1 - Phi(1.5)) = 0.134
    expect(found!.p).toBeLessThan(0.155);
    expect(found!.verdict).toBe("undecided");
  });

  test("of differences are paired: what prompts share cancels", () => {
    const levels = spread(40, 0, 100);
    const [found] = differences([
      ...inventTrials("best-of-n", levels),
      ...inventTrials("halving", levels.map((level, i) => level + 1 + 0.1 * (i % 2))), // prettier-ignore
    ]);
    expect(found!.estimate).toBeCloseTo(1.05, 9);
    expect(found!.high - found!.low).toBeLessThan(0.05);
    expect(found!.verdict).toBe("better");
  });

  test("are the same each time", () => {
    const trials = [...inventTrials("best-of-n", spread(30, 0, 1)), ...inventTrials("halving", spread(30, 0.2, 2))];
    expect(differences(trials)).toEqual(differences(trials));
  });
});

describe("Holm's procedure", () => {
  // p of 0.03 is z = 2.17, of 0.4 z = 0.84
  const arm = (strategy: string, z: number): StrategyTrial[] => inventTrials(strategy, spread(400, z / 20, 1));
  const base = inventTrials("best-of-n", zeros(400));
  const levels = (trials: readonly StrategyTrial[]) => differences(trials).map(({ verdict, corrected }) => [verdict, Number(corrected.confidence.toFixed(4))]); // prettier-ignore

  test("of two takes the second at the whole level once the first is decided", () => {
    expect(levels([...base, ...arm("a", 2.17), ...arm("b", -6)])).toEqual([["better", 0.95], ["worse", 0.975]]); // prettier-ignore
  });

  test("stops at the first that includes zero, and the rest share its level", () => {
    expect(levels([...base, ...arm("a", 0.84), ...arm("b", 6), ...arm("c", 2.17)])).toEqual([
      ["undecided", 0.975],
      ["better", 0.9833],
      ["undecided", 0.975],
    ]);
  });

  test("corrects over budgets, too, each with a baseline of its own", () => {
    const larger = (trials: StrategyTrial[]): StrategyTrial[] => trials.map((one) => ({ ...one, budget: 8 }));
    const both = [...base, ...larger(inventTrials("best-of-n", zeros(400).fill(5))), ...arm("a", 2.17), ...larger(arm("a", -0.84).map((one) => ({ ...one, metrics: { guide: one.metrics["guide"]! + 5 } })))]; // prettier-ignore
    const [small, large] = differences(both);
    expect([small!.verdict, small!.corrected.confidence]).toEqual(["undecided", 0.975]); // alone it would be better
    expect(large!.estimate).toBeCloseTo(-0.84 / 20, 9);
  });
});

describe("what tells nothing stays undecided", () => {
  test("equal trials: p is 1, the interval is zero", () => {
    const values = spread(20, 3, 1);
    const [found] = differences([...inventTrials("best-of-n", values), ...inventTrials("halving", values)]);
    expect(found).toMatchObject({ estimate: 0, low: 0, high: 0, p: 1, verdict: "undecided" });
  });

  test("few prompts, however much they agree", () => {
    const better = (count: number) => differences([...inventTrials("best-of-n", zeros(count)), ...inventTrials("halving", spread(count, 9, 1))])[0]!; // prettier-ignore
    expect([better(1).verdict, better(1).p]).toEqual(["undecided", 1]);
    expect([better(5).verdict, better(5).p]).toEqual(["undecided", 2 ** -4]);
    expect([better(6).verdict, better(6).p]).toEqual(["better", 2 ** -5]);
  });

  test("no values at all; values that are none are left out pair by pair", () => {
    const [none] = differences([...inventTrials("best-of-n", [1, 2]), ...inventTrials("halving", [null, Infinity])]);
    expect(none).toMatchObject({ estimate: Number.NaN, p: 1, verdict: "undecided" });
    const values = [...inventTrials("best-of-n", [1, null, 3]), ...inventTrials("halving", [2, 9, 5])];
    const { arms } = compareStrategies(values, "best-of-n", [GUIDE]);
    const [base, other] = arms.map(({ metrics }) => metrics["guide"]!);
    expect(base!.value.estimate).toBe(2);
    expect(other!.value.estimate).toBeCloseTo(16 / 3, 12);
    expect(other!.difference!.estimate).toBe(1.5);
  });
});

describe("trials that are no pairs are refused", () => {
  const base = inventTrials("best-of-n", [0, 0]);
  const refused = (trials: readonly StrategyTrial[], message: RegExp): void =>
    expect(() => compareStrategies(trials, "best-of-n", [GUIDE])).toThrow(message);

  test("a trial is missing, from another seed, on another prompt; the baseline is missing", () => {
    const own = inventTrials("halving", [1, 1]);
    refused([...base, own[0]!], /expected halving at 4 on "prompt 1" from seed 1000, got no such trial/);
    refused([...base, own[0]!, { ...own[1]!, seed: 7 }], /got "prompt 1" from seed 7/);
    refused([...base, own[0]!, { ...own[1]!, prompt: "a cat" }], /got "a cat" from seed 1000/);
    refused(own, /expected trials of the baseline best-of-n, got halving/);
    refused([], /got none/);
  });
});

describe("a strategy at a budget", () => {
  const armOf = (trials: readonly StrategyTrial[]): ComparedArm => compareStrategies(trials, "best-of-n", [GUIDE]).arms[0]!; // prettier-ignore

  test("has the mean of its trials' step functions as its curve, from where all have a picture", () => {
    const { curve } = armOf([
      inventTrial({ budget: 24, curve: [{ compute: 2, guide: 1 }, { compute: 10, guide: 4 }] }), // prettier-ignore
      inventTrial({ budget: 24, index: 1, curve: [{ compute: 3, guide: 0 }, { compute: 20.5, guide: 1 }] }), // prettier-ignore
    ]);
    expect(curve.map(({ compute }) => compute)).toEqual(Array.from({ length: 22 }, (_, i) => i + 3));
    for (const { compute, guide } of curve) {
      expect(guide).toBe(((compute < 10 ? 1 : 4) + (compute < 20.5 ? 0 : 1)) / 2);
    }
  });

  test("has mean costs; the share outside of programs is one of sums, and unknown where a trial does not know it", () => {
    const trials = [
      inventTrial({ seconds: 1, outsideSeconds: 0.5, work: { evaluation: 2 } }),
      inventTrial({ index: 1, seconds: 3, outsideSeconds: 0.5, compute: 2, work: { scoring: 1 } }),
    ];
    expect(armOf(trials)).toMatchObject({ trials: 2, seconds: 2, outside: 0.25, compute: 3, work: { evaluation: 1, scoring: 0.5 } }); // prettier-ignore
    expect(armOf([trials[0]!, { ...trials[1]!, outsideSeconds: null }]).outside).toBeNull();
  });

  test("has each warning once, with its share, whatever its numbers", () => {
    const warned = (index: number, ...warnings: string[]): StrategyTrial => inventTrial({ index, warnings });
    const trials = [warned(0, "off: 0.21", "off: 0.3"), warned(1, "off: 0.4", "late"), warned(2), warned(3)];
    expect(armOf(trials).warnings).toEqual([
      { message: "off: 0.4", share: 0.5 },
      { message: "late", share: 0.25 },
    ]);
  });
});
