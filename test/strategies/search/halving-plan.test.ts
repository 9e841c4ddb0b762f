import { describe, expect, test } from "vitest";
import { Calibration, correlation, ranks } from "#laurel/strategies/search/calibration";
import { planHalving, scheduleOf } from "#laurel/strategies/search/halving-plan";
import { smallRandom } from "#laurel/util/statistics";

/** Pictures whose preview at each entry is the final score plus normal noise of this deviation. */
function observe(calibration: Calibration, deviations: readonly number[], groups: number, seed = 1): Calibration {
  const uniform = smallRandom(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  for (let group = 0; group < groups; group++) {
    const level = 5 * normal();
    calibration.add(
      Array.from({ length: 12 }, () => {
        const final = normal();
        return [...deviations.map((deviation) => level + final + deviation * normal()), level + final];
      }),
    );
  }
  return calibration;
}

test("ranks share ties, and correlations are those of a hand-worked case", () => {
  expect(ranks([3, 1, 2, 1])).toEqual([3, 0.5, 2, 0.5]);
  // means 2 and 3; products 1 + 0 + 1, squares 2 and 2
  expect(correlation([1, 2, 3], [2, 3, 4])).toBeCloseTo(1, 12);
  expect(correlation([1, 2, 3], [4, 2, 3])).toBeCloseTo(-0.5, 12);
  expect(correlation([1, 1, 1], [4, 2, 3])).toBe(0);
});

describe("calibration", () => {
  test("tells rank correlation and regret within a prompt, by hand", () => {
    const calibration = new Calibration([3]);
    calibration.add([
      [0.1, 1],
      [0.3, 2],
      [0.2, 3],
    ]);
    calibration.add([
      [9, 20],
      [8, 10],
    ]);
    // first prompt: ranks 0,2,1 and 0,1,2: 0.5, regret 3 - 2; second: 1, regret 0
    expect(calibration.fidelity()).toEqual([
      { entry: 3, rankCorrelation: expect.closeTo((3 * 0.5 + 2) / 5, 12), regret: 0.5 },
    ]);
    expect(calibration.size).toBe(5);
  });

  test("leaves out pictures without a score, and prompts with fewer than two", () => {
    const calibration = new Calibration([3]);
    calibration.add([
      [0.1, null],
      [null, 2],
      [0.2, 3],
    ]);
    expect(calibration.size).toBe(0);
    expect(calibration.fidelity()).toEqual([]);
  });

  test("compares within prompts alone: what differs between them is no fidelity", () => {
    const [first] = observe(new Calibration([3]), [50], 40).fidelity();
    expect(Math.abs(first!.rankCorrelation)).toBeLessThan(0.15);
    expect(observe(new Calibration([3]), [0.1], 10).fidelity()[0]!.rankCorrelation).toBeGreaterThan(0.95);
  });
});

describe("a plan", () => {
  const costs = { budget: 16 * (10 + 1), entries: 10, entry: 1, look: 1 };

  test("costs what it says", () => {
    const { alive, cost } = scheduleOf(
      20,
      [
        { entry: 4, keep: 0.25 },
        { entry: 7, keep: 0.5 },
      ],
      costs,
    );
    expect(alive).toEqual([5, 3]);
    // 20 x (4 + 1), 5 x (3 + 1), 3 x (3 + 1)
    expect(cost).toBe(100 + 20 + 12);
  });

  test("drops pictures where previews predict the end, within the budget", () => {
    const plan = planHalving(observe(new Calibration([3, 5, 7]), [0.4, 0.2, 0.1], 4), costs);
    expect(plan.cuts.length).toBeGreaterThan(0);
    expect(plan.start).toBeGreaterThan(20);
    expect(plan.gain).toBeGreaterThan(0.1);
    expect(scheduleOf(plan.start, plan.cuts, costs).cost).toBeLessThanOrEqual(costs.budget);
    expect(scheduleOf(plan.start + 1, plan.cuts, costs).cost).toBeGreaterThan(costs.budget);
  });

  test("draws whole pictures where previews tell nothing, or before anything was observed", () => {
    const whole = { start: 16, cuts: [], gain: 0 };
    expect(planHalving(observe(new Calibration([3, 5, 7]), [9, 9, 9], 8), costs)).toEqual(whole);
    expect(planHalving(new Calibration([3, 5, 7]), costs)).toEqual(whole);
    expect(planHalving(observe(new Calibration([3, 5, 7]), [0.1, 0.1, 0.1], 4), { ...costs, budget: 5 })).toMatchObject({ cuts: [], start: 0 }); // prettier-ignore
  });

  test("looks where it pays: a late look that is exact loses against an earlier one that is nearly so", () => {
    const plan = planHalving(observe(new Calibration([2, 9]), [0.3, 0], 6), costs);
    expect(plan.cuts[0]?.entry).toBe(2);
    const blind = planHalving(observe(new Calibration([2, 5]), [20, 0.3], 6), costs);
    expect(blind.cuts.map(({ entry }) => entry)).not.toContain(2);
    expect(blind.cuts.length).toBeGreaterThan(0);
  });
});
