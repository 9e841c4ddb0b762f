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
/** Simulated searches: so many pictures in all, and from 40 to 600 searches. */
const SIMULATED_PICTURES = 40_000;
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
  const plain = mostOf([], costs);
  const whole = { start: plain, cuts: [], gain: 0 };
  if (plain < 1 || calibration.size === 0) return whole;
  const draw = simulator(shrunk(calibration.correlations(), calibration.size), 1);
  const final = calibration.grid.length;
  let best: HalvingPlan = whole;
  const schedules = cutsOf(calibration.grid).map((cuts) => ({ cuts, start: mostOf(cuts, costs) }));
  const more = Math.ceil(plain * (1 + LEAST_WORTH));
  const largest = Math.max(more, ...schedules.map(({ start }) => start));
  const totals = new Array<number>(schedules.length).fill(0);
  let [expected, wanted] = [0, 0];
  const simulations = Math.min(600, Math.max(40, Math.round(SIMULATED_PICTURES / largest)));
  for (let simulation = 0; simulation < simulations; simulation++) {
    // every schedule meets the same pictures
    const pictures = Array.from({ length: largest }, draw);
    expected += bestOf(pictures.slice(0, plain), final);
    wanted += bestOf(pictures.slice(0, more), final);
    schedules.forEach(({ cuts, start }, i) => {
      let alive = pictures.slice(0, start);
      const { alive: counts } = scheduleOf(start, cuts, costs);
      cuts.forEach(({ entry }, at) => {
        const place = calibration.grid.indexOf(entry);
        alive = alive.sort((a, b) => b[place]! - a[place]!).slice(0, counts[at]);
      });
      totals[i]! += start < 1 ? -Infinity : bestOf(alive, final);
    });
  }
  schedules.forEach(({ cuts, start }, i) => {
    const gain = (totals[i]! - expected) / simulations;
    if (gain > best.gain && totals[i]! >= wanted) best = { start, cuts, gain };
  });
  return best;
}

function bestOf(pictures: readonly (readonly number[])[], final: number): number {
  return pictures.reduce((most, scores) => Math.max(most, scores[final]!), -Infinity);
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
