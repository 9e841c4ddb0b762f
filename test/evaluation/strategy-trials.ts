/** @file Trials of strategies that were never made, for the statistics and pages of comparisons. */

import type { MetricDescription, StrategyTrial } from "#laurel/evaluation/strategy-comparison";

/** A trial of `best-of-n` on prompt 0, but for what `change` says. */
export function inventTrial(change: Partial<StrategyTrial> = {}): StrategyTrial {
  const { budget = 4, index = 0, repeat = 0 } = change;
  return {
    strategy: "best-of-n",
    budget,
    index,
    prompt: `prompt ${index}`,
    repeat,
    seed: 1000 * index + repeat,
    metrics: { guide: 0 },
    pictures: budget,
    compute: budget,
    work: { evaluation: 0.75 * budget, decoding: 0.25 * budget },
    evaluations: 40 * budget,
    seconds: budget / 10,
    outsideSeconds: budget / 100,
    curve: [{ compute: budget, guide: 0 }],
    warnings: [],
    ...change,
  };
}

/** A trial for every value, each on a prompt of its own. */
export function inventTrials(
  strategy: string,
  values: readonly (number | null)[],
  change: Partial<StrategyTrial> = {},
): StrategyTrial[] {
  // prettier-ignore
  return values.map((guide, index) => inventTrial({ ...change, strategy, index, metrics: { guide } }));
}

/** The metric of {@link inventTrials}. */
export const GUIDE: MetricDescription = { key: "guide", title: "the judge", kind: "guide" };
