/** @file When to look, and whom to drop: chosen by simulating every schedule with the correlations that were measured. */

import { smallRandom } from "../../util/statistics.js";
import type { Calibration } from "./calibration.js";

/** A look at the pictures on their way. */
export interface Cut {
  /** Entries of the sampler after which it is made. */
  readonly entry: number;
  /** Share of the pictures that go on. */
  readonly keep: number;
}

/** How a budget is spent. */
export interface HalvingPlan {
  /** Pictures begun. */
  readonly start: number;
  /** In order; none means that all are drawn to the end. */
  readonly cuts: readonly Cut[];
  /** Expected score of the best, in standard deviations of the scores of a prompt, above that of the best of as many whole pictures as the budget pays for. */
  readonly gain: number;
}

/** What things cost, in any unit. */
export interface HalvingCosts {
  readonly budget: number;
  /** Entries of the sampler from noise to the end. */
  readonly entries: number;
  readonly entry: number;
  /** Decoding and scoring a picture, or the preview of one. */
  readonly look: number;
}

const KEEPS = [1 / 2, 1 / 3, 1 / 4];
/** Simulated searches: so many pictures in all, and from 40 to 300 searches; first those that choose the schedules that are simulated in earnest. */
const [FIRST_PICTURES, SIMULATED_PICTURES] = [1000, 10_000];
const FINALISTS = 8;
/** Most pictures that are begun. */
const MOST = 4096;
/** A schedule must promise what this share more of whole pictures would bring: less is not worth trusting a few observed pictures for. */
const LEAST_WORTH = 1 / 3;
/** Correlations count as if so many uncorrelated pictures had been observed too. */
const DOUBT = 3;

/** Pictures that go on after each cut, and what the whole costs. */
export function scheduleOf(
  start: number,
  cuts: readonly Cut[],
  { entries, entry, look }: HalvingCosts,
): { readonly alive: number[]; readonly cost: number } {
  let [count, done, cost] = [start, 0, 0];
  const alive: number[] = [];
  for (const cut of cuts) {
    cost += count * ((cut.entry - done) * entry + look);
    count = Math.max(1, Math.round(count * cut.keep));
    done = cut.entry;
    alive.push(count);
  }
  return { alive, cost: cost + count * ((entries - done) * entry + look) };
}

/** The most pictures that can be begun. */
function mostOf(cuts: readonly Cut[], costs: HalvingCosts): number {
  let most = 0;
  for (let start = 1; start <= MOST && scheduleOf(start, cuts, costs).cost <= costs.budget; start++) most = start;
  return most;
}

/**
 * The schedule with at most two cuts that promises the most, by simulated scores that correlate as the observed ones do; drawing whole pictures where
 * none promises enough.
 */
export function planHalving(calibration: Calibration, costs: HalvingCosts): HalvingPlan {
  const key = JSON.stringify([calibration.size, costs]);
  const known = PLANS.get(calibration) ?? new Map<string, HalvingPlan>();
  PLANS.set(calibration, known);
  const plan = known.get(key) ?? newPlan(calibration, costs);
  known.set(key, plan);
  return plan;
}

/** Plans that were made: what is observed of many prompts plans all that follow alike. */
const PLANS = new WeakMap<Calibration, Map<string, HalvingPlan>>();

function newPlan(calibration: Calibration, costs: HalvingCosts): HalvingPlan {
  const plain = mostOf([], costs);
  const whole = { start: plain, cuts: [], gain: 0 };
  if (plain < 1 || calibration.size === 0) return whole;
  const draw = simulator(shrunk(calibration.correlations(), calibration.size), 1);
  const schedules = cutsOf(calibration.grid).map((cuts) => simulated(cuts, calibration.grid, costs));
  const possible = schedules.filter(({ start }) => start >= 1);
  const more = Math.ceil(plain * (1 + LEAST_WORTH));
  const rounds = (pictures: number): number =>
    Math.min(300, Math.max(40, Math.round(pictures / Math.max(more, ...possible.map(({ start }) => start)))));
  // a few searches tell which schedules are worth many
  const first = simulate(possible, [], draw, rounds(FIRST_PICTURES));
  const order = possible.map((_, i) => i).sort((i, j) => first.totals[j]! - first.totals[i]!);
  const finalists = order.slice(0, FINALISTS).map((i) => possible[i]!);
  const count = rounds(SIMULATED_PICTURES);
  const {
    totals,
    plain: [expected = 0, wanted = 0],
  } = simulate(finalists, [plain, more], draw, count);
  let best: HalvingPlan = whole;
  finalists.forEach(({ start, cuts }, i) => {
    const gain = (totals[i]! - expected) / count;
    if (gain > best.gain && totals[i]! >= wanted) best = { start, cuts, gain };
  });
  return best;
}

/** A schedule as it is simulated. */
interface SimulatedSchedule {
  readonly start: number;
  readonly cuts: readonly Cut[];
  /** Of each cut, the column of its scores, and the pictures that go on. */
  readonly stages: readonly { readonly column: number; readonly alive: number }[];
}

function simulated(cuts: readonly Cut[], grid: readonly number[], costs: HalvingCosts): SimulatedSchedule {
  const start = mostOf(cuts, costs);
  const { alive } = scheduleOf(start, cuts, costs);
  return { start, cuts, stages: cuts.map(({ entry }, i) => ({ column: grid.indexOf(entry), alive: alive[i]! })) };
}

/** Sums of the final scores of the best, over searches: of each schedule, and of so many whole pictures. Every schedule meets the same pictures. */
function simulate(
  schedules: readonly SimulatedSchedule[],
  counts: readonly number[],
  draw: () => number[],
  searches: number,
): { readonly totals: Float64Array; readonly plain: number[] } {
  const largest = Math.max(0, ...counts, ...schedules.map(({ start }) => start));
  const totals = new Float64Array(schedules.length);
  const plain = counts.map(() => 0);
  for (let search = 0; search < searches; search++) {
    const pictures = Array.from({ length: largest }, draw);
    counts.forEach((count, i) => (plain[i]! += bestOf(pictures.slice(0, count))));
    schedules.forEach(({ start, stages }, i) => {
      let alive = pictures.slice(0, start);
      for (const { column, alive: left } of stages)
        alive = alive.sort((a, b) => b[column]! - a[column]!).slice(0, left);
      totals[i]! += bestOf(alive);
    });
  }
  return { totals, plain };
}

/** The highest final score, which is the last of a picture's. */
function bestOf(pictures: readonly (readonly number[])[]): number {
  let most = -Infinity;
  for (const scores of pictures) most = Math.max(most, scores.at(-1)!);
  return most;
}

/** One or two cuts at the entries of the grid. */
function cutsOf(grid: readonly number[]): Cut[][] {
  const single = grid.flatMap((entry) => KEEPS.map((keep) => ({ entry, keep })));
  const double = single.flatMap((first) =>
    single.filter((second) => second.entry > first.entry).map((second) => [first, second]),
  );
  return [...single.map((cut) => [cut]), ...double];
}

function shrunk(correlations: readonly (readonly number[])[], size: number): number[][] {
  const trust = size / (size + DOUBT);
  return correlations.map((row, i) => row.map((value, j) => (i === j ? 1 : value * trust)));
}

/** Draws rows of normal numbers with these correlations, which are made positive definite if they are not. */
function simulator(correlations: readonly (readonly number[])[], seed: number): () => number[] {
  const lower = cholesky(correlations);
  const uniform = smallRandom(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return () => {
    const independent = lower.map(normal);
    return lower.map((row) => row.reduce((sum, weight, j) => sum + weight * independent[j]!, 0));
  };
}

function cholesky(matrix: readonly (readonly number[])[]): number[][] {
  const lower = matrix.map((row) => row.map(() => 0));
  matrix.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let sum = row[j]!;
      for (let k = 0; k < j; k++) sum -= lower[i]![k]! * lower[j]![k]!;
      if (i === j) lower[i]![j] = Math.sqrt(Math.max(sum, 1e-9));
      else lower[i]![j] = sum / lower[j]![j]!;
    }
  });
  return lower;
}
