/** @file How a refinement spends its candidates: successive halving over shared seeds, then a comparison on fresh ones. */

/** One round of the search. */
export interface Rung {
  /** Seeds that every prompt still in the race has been drawn with at the end of the round. */
  readonly seeds: number;
  /** Candidates for the round; what is left over goes to the next. */
  readonly share: number;
}

/** What is done with a budget. */
export interface Allocation {
  /** Empty when the budget is too small to choose: one prompt is compared with the original. */
  readonly rungs: readonly Rung[];
  /** Fresh seeds of the comparison at the end, two candidates each, at least. */
  readonly pairs: number;
}

/** A budget below this compares a single prompt with the original. */
const SMALLEST_SEARCH = 12;
/** Pairs below this have intervals too wide to confirm anything. */
const FEWEST_PAIRS = 4;

/**
 * Half of the budget searches, half confirms: candidates of the comparison are also the winner's candidates, so they are not lost. Rounds
 * double the seeds: 1, 2, 4, ... (Jamieson and Talwalkar 2016, with new prompts joining in every round).
 */
export function allocate(budget: number): Allocation {
  if (budget < SMALLEST_SEARCH) return { rungs: [], pairs: Math.floor(budget / 2) };
  const pairs = Math.max(FEWEST_PAIRS, Math.floor(budget / 4));
  const search = budget - 2 * pairs;
  const count = Math.max(1, Math.min(6, Math.floor(Math.log2(budget)) - 3));
  const share = Math.floor(search / count);
  const rungs = Array.from({ length: count }, (_, i) => ({
    seeds: 2 ** i,
    share: i === 0 ? search - share * (count - 1) : share,
  }));
  return { rungs, pairs };
}

/** Who is drawn in a round. */
export interface Division {
  /** How many of the prompts in the race stay, best first; the original always does and is not counted. */
  readonly survivors: number;
  /** How many prompts may join. */
  readonly newcomers: number;
}

/**
 * Divides what there is for a round: the original and the better half of the others catch up to the round's seeds, for at most two thirds of
 * it; the rest is for newcomers.
 * @param purse candidates to spend
 * @param racing prompts in the race, without the original
 * @param before seeds each of them has been drawn with
 */
export function divide(purse: number, rung: Rung, racing: number, before: number): Division {
  const step = rung.seeds - before;
  const rest = purse - step;
  if (rest < 0) return { survivors: 0, newcomers: 0 };
  const half = Math.ceil(racing / 2);
  const affordable = Math.floor(rest / step);
  const survivors = Math.min(half, affordable, Math.max(1, Math.floor((2 * rest) / 3 / step)));
  return { survivors, newcomers: Math.floor((rest - survivors * step) / rung.seeds) };
}
