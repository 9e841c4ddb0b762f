/** @file Strategies against each other at the same compute: from single trials to figures with intervals that are corrected for several comparisons. */

import { UsageError } from "../errors.js";
import { type Interval, mean, smallRandom } from "../util/statistics.js";

/** One search: one strategy on one prompt from one seed, at one budget. */
export interface StrategyTrial {
  /** The strategy with its settings, as a user would type it. */
  readonly strategy: string;
  /** In pictures drawn plainly. */
  readonly budget: number;
  /** Place of the prompt. */
  readonly index: number;
  readonly prompt: string;
  /** Counts the seeds of a prompt at a budget, from 0. */
  readonly repeat: number;
  /** The search's first seed, the same for every strategy. */
  readonly seed: number;
  /** What is said of the picture with the highest guide, by metric: `guide`, `holds`, `facts`, the names of held-out rewards; of its best pictures together: `diversity`. */
  readonly metrics: Readonly<Record<string, number | null>>;
  /** Pictures finished. */
  readonly pictures: number;
  /** Operations spent, in pictures drawn plainly; never more than the budget where a strategy keeps to it. */
  readonly compute: number;
  /** Of that, by kind of work. */
  readonly work: Readonly<Record<string, number>>;
  /** Evaluations of the denoiser. */
  readonly evaluations: number;
  readonly seconds: number;
  /** Seconds outside of programs; null where nothing is known of them. */
  readonly outsideSeconds: number | null;
  /** Highest guide so far after so much compute: each time a better picture was found. */
  readonly curve: readonly { readonly compute: number; readonly guide: number }[];
  readonly warnings: readonly string[];
}

/** A difference to the baseline. */
export interface ComparedDifference extends Interval {
  /** The interval at the level that Holm's procedure gives this comparison. */
  readonly corrected: { readonly low: number; readonly high: number; readonly confidence: number };
  /** Two-sided, by the bootstrap, not corrected; never below 2^(1-n) for n prompts. */
  readonly p: number;
  /** By Holm's procedure at 5 % over all comparisons of the metric. */
  readonly verdict: "better" | "worse" | "undecided";
}

/** A metric of one strategy at one budget. */
export interface ComparedMetric {
  /** Mean over prompts and seeds with its 95 % interval. */
  readonly value: Interval;
  /** To the baseline, on the same prompts and seeds; null for the baseline itself. */
  readonly difference: ComparedDifference | null;
}

/** One strategy at one budget. */
export interface ComparedArm {
  readonly strategy: string;
  readonly budget: number;
  readonly trials: number;
  readonly metrics: Readonly<Record<string, ComparedMetric>>;
  /** Means over the trials; compute and work in pictures drawn plainly. */
  readonly pictures: number;
  readonly compute: number;
  readonly work: Readonly<Record<string, number>>;
  readonly evaluations: number;
  readonly seconds: number;
  /** Share of the time that was spent outside of programs; null where nothing is known. */
  readonly outside: number | null;
  /** Mean highest guide so far at parts of the budget; left out before every trial has a picture. */
  readonly curve: readonly { readonly compute: number; readonly guide: number }[];
  /** What the strategy warned of, with the share of trials. */
  readonly warnings: readonly { readonly message: string; readonly share: number }[];
}

/** A metric of a comparison. */
export interface MetricDescription {
  readonly key: string;
  /** In words: `share of stated facts that hold`. */
  readonly title: string;
  /** `guide` chose the pictures; `held-out` and `truth` did not. */
  readonly kind: "guide" | "held-out" | "truth" | "diversity";
}

/** Everything a comparison found. */
export interface StrategyComparison {
  readonly prompts: number;
  /** Prompts that differ: intervals resample these. */
  readonly descriptions: number;
  readonly strategies: readonly string[];
  readonly baseline: string;
  readonly budgets: readonly number[];
  readonly metrics: readonly MetricDescription[];
  /** By strategy, then by budget, in the order of `strategies` and `budgets`; without budgets that a strategy has no trials at. */
  readonly arms: readonly ComparedArm[];
}

/** Resamples of a bootstrap: enough for the tails that Holm's procedure asks for. */
const RESAMPLES = 10_000;
const ALPHA = 0.05;
/** Points of a curve. */
const CURVE_POINTS = 24;

/**
 * The figures of trials. Differences are paired: of a strategy and the baseline on the same prompt and seed. Units of the bootstrap (Efron 1979) are distinct
 * prompts. Intervals of differences are corrected over all strategies and budgets of a metric by Holm's procedure (1979): comparisons in order of their p get
 * the levels 1 - alpha/m, 1 - alpha/(m-1), ... until the first that includes zero, whose level the rest share. Where the prompts are so few that even a sign
 * test on which all agree would not reach a level, nothing is decided at it.
 * @throws UsageError where a strategy lacks a trial that the baseline has, or drew it from another seed
 */
export function compareStrategies(
  trials: readonly StrategyTrial[],
  baseline: string,
  metrics: readonly MetricDescription[],
): StrategyComparison {
  const strategies = [...new Set(trials.map(({ strategy }) => strategy))];
  if (!strategies.includes(baseline))
    throw new UsageError(`comparison: expected trials of the baseline ${baseline}, got ${strategies.join(", ") || "none"}`); // prettier-ignore
  const budgets = [...new Set(trials.map(({ budget }) => budget))].sort((a, b) => a - b);
  // a budget may be too small for a strategy
  const arms = strategies
    .flatMap((strategy) =>
      budgets.map((budget) => ({
        strategy,
        budget,
        trials: trials.filter((one) => one.strategy === strategy && one.budget === budget),
      })),
    )
    .filter((arm) => arm.trials.length > 0);
  const resamples = resampler();
  const compared = new Map(metrics.map(({ key }) => [key, compareMetric(key, arms, baseline, resamples)]));
  return {
    prompts: new Set(trials.map(({ index }) => index)).size,
    descriptions: new Set(trials.map(({ prompt }) => prompt)).size,
    strategies,
    baseline,
    budgets,
    metrics,
    arms: arms.map((arm, i) => ({
      strategy: arm.strategy,
      budget: arm.budget,
      ...costsOf(arm.trials),
      metrics: Object.fromEntries(metrics.map(({ key }) => [key, compared.get(key)![i]!])),
      curve: meanCurve(arm),
      warnings: sharedWarnings(arm.trials),
    })),
  };
}

interface Arm {
  readonly strategy: string;
  readonly budget: number;
  readonly trials: readonly StrategyTrial[];
}

function compareMetric(key: string, arms: readonly Arm[], baseline: string, resamples: Resampler): ComparedMetric[] {
  const values = arms.map(({ trials }) =>
    bootstrapMean(
      trials.map((one) => [one.prompt, valueOf(one, key)]),
      resamples,
    ),
  );
  const differences = arms.map((arm) => {
    const base = arms.find(({ strategy, budget }) => strategy === baseline && budget === arm.budget)!;
    return arm === base ? null : bootstrapMean(paired(arm, base, key), resamples);
  });
  const corrected = holm(differences.flatMap((one) => one ?? []));
  let next = 0;
  return arms.map((_, i) => ({
    value: interval(values[i]!, 1 - ALPHA),
    difference: differences[i] === null ? null : corrected[next++]!,
  }));
}

/** A trial whose pictures have no finite value counts as none at all. */
function valueOf({ metrics }: StrategyTrial, key: string): number {
  const value = metrics[key] ?? Number.NaN;
  return Number.isFinite(value) ? value : Number.NaN;
}

function paired(arm: Arm, base: Arm, key: string): [string, number][] {
  const place = ({ index, repeat }: StrategyTrial): string => `${index} ${repeat}`;
  const own = new Map(arm.trials.map((one) => [place(one), one]));
  return base.trials.map((one) => {
    const other = own.get(place(one));
    if (other?.seed === one.seed && other.prompt === one.prompt)
      return [one.prompt, valueOf(other, key) - valueOf(one, key)];
    throw new UsageError(
      `comparison: expected ${arm.strategy} at ${arm.budget} on "${one.prompt}" from seed ${one.seed}, got ${other === undefined ? "no such trial" : `"${other.prompt}" from seed ${other.seed}`}`,
    );
  });
}

/** The mean of values, and of resamples of their groups in rising order. Values that are no numbers are left out. */
interface BootstrapMean {
  readonly groups: number;
  readonly estimate: number;
  readonly draws: Float64Array;
}

/** Places of `count` groups in every resample, one resample after the other: the same for all that have as many groups. */
type Resampler = (count: number) => Uint32Array;

function resampler(): Resampler {
  const known = new Map<number, Uint32Array>();
  return (count) => {
    const random = smallRandom(1);
    const places = known.get(count) ?? new Uint32Array(RESAMPLES * count).map(() => Math.floor(random() * count));
    known.set(count, places);
    return places;
  };
}

function bootstrapMean(
  values: readonly (readonly [group: string, value: number])[],
  resamples: Resampler,
): BootstrapMean {
  const known = values.filter(([, value]) => !Number.isNaN(value));
  const units = [...new Set(known.map(([group]) => group))];
  const place = new Map(units.map((group, i) => [group, i]));
  const [sums, counts] = [new Float64Array(units.length), new Float64Array(units.length)];
  for (const [group, value] of known) {
    sums[place.get(group)!]! += value;
    counts[place.get(group)!]! += 1;
  }
  const places = resamples(units.length);
  const draws = new Float64Array(units.length === 0 ? 0 : RESAMPLES);
  for (let draw = 0, at = 0; draw < draws.length; draw++) {
    let [sum, count] = [0, 0];
    for (const end = at + units.length; at < end; at++) {
      sum += sums[places[at]!]!;
      count += counts[places[at]!]!;
    }
    draws[draw] = sum / count;
  }
  const total = sums.reduce((sum, one) => sum + one, 0);
  return { groups: units.length, estimate: total / known.length, draws: draws.sort() };
}

function interval({ estimate, draws }: BootstrapMean, confidence: number): Interval {
  const tail = (1 - confidence) / 2;
  return { estimate, low: sortedQuantile(draws, tail), high: sortedQuantile(draws, 1 - tail) };
}

/** By linear interpolation between values in rising order; NaN for none. */
function sortedQuantile(sorted: Float64Array, q: number): number {
  const position = q * (sorted.length - 1);
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

/** The lowest two-sided p that a number of groups can show: that of a sign test where all agree. Resamples of few groups are too much alike to tell it. */
function lowestP(groups: number): number {
  return Math.min(1, 2 ** (1 - groups));
}

/** Twice the share of resamples on the other side of zero; those at zero count to both. */
function pValue({ draws, groups }: BootstrapMean): number {
  const below = draws.filter((value) => value <= 0).length;
  const above = draws.filter((value) => value >= 0).length;
  return Math.min(1, Math.max(lowestP(groups), (2 * (Math.min(below, above) + 1)) / (draws.length + 1)));
}

/** Holm's step-down procedure, with the interval at each step's level. */
function holm(means: readonly BootstrapMean[]): ComparedDifference[] {
  const ps = means.map(pValue);
  const order = means.map((_, i) => i).sort((a, b) => ps[a]! - ps[b]!);
  const result: ComparedDifference[] = [];
  let remaining = means.length;
  let stopped = false;
  for (const i of order) {
    const confidence = 1 - ALPHA / remaining;
    const { low, high } = interval(means[i]!, confidence);
    stopped ||= !(low > 0 || high < 0) || lowestP(means[i]!.groups) > ALPHA / remaining;
    result[i] = {
      ...interval(means[i]!, 1 - ALPHA),
      corrected: { low, high, confidence },
      p: ps[i]!,
      verdict: stopped ? "undecided" : low > 0 ? "better" : "worse",
    };
    if (!stopped) remaining--;
  }
  return result;
}

function costsOf(
  trials: readonly StrategyTrial[],
): Pick<ComparedArm, "trials" | "pictures" | "compute" | "work" | "evaluations" | "seconds" | "outside"> {
  const over = (value: (one: StrategyTrial) => number): number => mean(trials.map(value));
  const kinds = [...new Set(trials.flatMap(({ work }) => Object.keys(work)))];
  const known = trials.every(({ outsideSeconds }) => outsideSeconds !== null);
  const seconds = over((one) => one.seconds);
  return {
    trials: trials.length,
    pictures: over((one) => one.pictures),
    compute: over((one) => one.compute),
    work: Object.fromEntries(kinds.map((kind) => [kind, over(({ work }) => work[kind] ?? 0)])),
    evaluations: over((one) => one.evaluations),
    seconds,
    outside: known ? over((one) => one.outsideSeconds ?? 0) / seconds : null,
  };
}

/** The mean of step functions: a trial stands at its best so far. */
function meanCurve({ trials, budget }: Arm): ComparedArm["curve"] {
  return Array.from({ length: CURVE_POINTS }, (_, i) => (budget * (i + 1)) / CURVE_POINTS).flatMap((compute) => {
    const reached = trials.map(({ curve }) => curve.findLast((point) => point.compute <= compute + 1e-9)?.guide);
    return reached.every((guide) => guide !== undefined) ? [{ compute, guide: mean(reached) }] : [];
  });
}

/** Warnings that differ in their numbers alone are one: the last of them stands for all. */
function sharedWarnings(trials: readonly StrategyTrial[]): ComparedArm["warnings"] {
  const found = new Map<string, { message: string; count: number }>();
  for (const { warnings } of trials) {
    for (const [kind, message] of new Map(warnings.map((one) => [one.replace(/\d+(\.\d+)?/g, "0"), one])))
      found.set(kind, { message, count: (found.get(kind)?.count ?? 0) + 1 });
  }
  return [...found.values()].map(({ message, count }) => ({ message, share: count / trials.length }));
}
