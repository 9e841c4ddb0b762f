/** @file Halving: more pictures are begun than can be finished; those whose previews are worst are left on the way. */

import type { LatentState } from "../../diffusion/latents.js";
import type { Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import { Calibration, type PreviewFidelity } from "./calibration.js";
import { type Cut, planHalving } from "./halving-plan.js";
import { type Judged, Search } from "./search.js";

/** Shares of the way at which previews are tried. */
const TRIED = [0.4, 0.5, 0.6, 0.7, 0.8];
/** Pictures that have to be observed before previews are believed. */
const ENOUGH = 64;
/** Share of a search's pictures that are observed, while there are not enough. */
const SLICE = 0.25;
const [SMALLEST_SLICE, LARGEST_SLICE] = [4, 16];

/** What {@link halving} remembers between searches. */
export interface HalvingOptions {
  /** Takes what was observed, and is believed in later searches of the same model, sampler and reward. @default a new one for each search */
  readonly calibration?: Calibration | undefined;
  /** Told what previews were found to be worth, and what was made of it, once a search. */
  readonly onPlan?: ((report: HalvingReport) => void) | undefined;
}

/** What a search found about previews. */
export interface HalvingReport {
  readonly fidelity: readonly PreviewFidelity[];
  /** Pictures that were observed. */
  readonly observed: number;
  /** What was done for the rest of the budget; no cuts where all pictures were drawn to the end. */
  readonly start: number;
  readonly cuts: readonly Cut[];
}

/** The entries of a sampler at which previews are tried. */
export function previewGrid(entries: number): number[] {
  const grid = TRIED.map((share) => Math.round(share * entries)).filter((entry) => entry >= 1 && entry < entries);
  return [...new Set(grid)];
}

/**
 * The strategy `halving`: successive halving (Jamieson and Talwalkar, arXiv 1502.07943) over seeds, on the scores of predicted clean pictures. A slice of the
 * pictures is drawn to the end and looked at on the way; from how their previews correlate with their final scores follow the cuts, or that there are none.
 */
export function halving(options: HalvingOptions = {}): Strategy {
  return {
    name: "halving",
    check: async (context) => expectBudget(await Search.open("halving", context)),
    run: (context) => run(context, options),
  };
}

function expectBudget(search: Search): void {
  search.expectBudget(search.plainCost, "a picture");
}

async function* run(context: StrategyContext, options: HalvingOptions): AsyncGenerator<StrategyEvent, void> {
  const search = await Search.open("halving", context);
  yield* search.warn(search.trajectory.warnings);
  expectBudget(search);
  const grid = previewGrid(search.entries);
  const calibration = options.calibration ?? new Calibration(grid);
  let begun = (yield* search.firstBatch()).length;
  const indexOf = (state: LatentState): number => state.seed - context.request.seed;
  const finish = async function* (
    states: readonly LatentState[],
    round: number,
  ): AsyncGenerator<StrategyEvent, Judged[]> {
    const judged = await search.judge(states);
    for (const one of judged) yield* search.tell(one, indexOf(one.state), { parent: null, round });
    return judged;
  };

  // what previews are worth, seen on pictures that are drawn to the end
  const slice = sliceOf(search, calibration, grid);
  if (slice >= 2) {
    let states = search.start(begun, slice);
    begun += slice;
    const looks: (number | null)[][] = states.map(() => []);
    for (const entry of [...grid, search.entries]) {
      states = await search.advance(states, entry - states[0]!.stepIndex);
      if (entry === search.entries) break;
      for (const [i, score] of (await search.look(states)).entries()) {
        looks[i]!.push(score);
        yield { type: "look", index: i, step: entry, score };
      }
    }
    const judged = yield* finish(states, 0);
    calibration.add(looks.map((scores, i) => [...scores, judged[i]!.score]));
  }

  const costs = { budget: search.left, entries: search.entries, entry: search.entryCost, look: search.lookCost };
  const plan =
    calibration.size < SMALLEST_SLICE ? { start: search.affordable, cuts: [] } : planHalving(calibration, costs);
  const fidelity = calibration.fidelity();
  const report = { fidelity, observed: calibration.size, start: plan.start, cuts: plan.cuts };
  options.onPlan?.(report);
  yield planEvent(report, search.entries, begun);
  if (plan.cuts.length === 0 && search.affordable > 0) yield* search.warn([offMessage(fidelity, calibration.size)]);

  if (plan.start > 0 && search.spent() === "complete") {
    let states = search.start(begun, plan.start);
    for (const { entry, keep } of plan.cuts) {
      states = await search.advance(states, entry - states[0]!.stepIndex);
      const scores = await search.look(states);
      for (const [i, score] of scores.entries()) yield { type: "look", index: indexOf(states[i]!), step: entry, score };
      const order = states
        .map((_, i) => i)
        .sort((a, b) => (scores[b] ?? -Infinity) - (scores[a] ?? -Infinity) || a - b);
      const kept = Math.min(Math.max(1, Math.round(states.length * keep)), search.finishable(entry));
      for (const i of order.slice(kept))
        yield {
          type: "pruned",
          index: indexOf(states[i]!),
          step: entry,
          reason: prunedBy(entry, search.entries, scores[i]!),
        };
      states = order
        .slice(0, kept)
        .sort((a, b) => a - b)
        .map((i) => states[i]!);
    }
    // in groups, so that a limit of time or a goal ends the search between them
    for (let at = 0; at < states.length; at += context.request.batch) {
      const group = states.slice(at, at + context.request.batch);
      yield* finish(await search.advance(group, search.entries - group[0]!.stepIndex), 1);
      if (search.spent() !== "complete") break;
    }
  }
  yield search.done(search.spent());
}

/** What becomes of the search, for the record. */
function planEvent({ fidelity, observed, start, cuts }: HalvingReport, entries: number, before: number): StrategyEvent {
  return {
    type: "plan",
    steps: entries,
    begun: before + start,
    cuts: cuts.map(({ entry, keep }) => ({ step: entry, keep })),
    previews: { observed, fidelity: fidelity.map(({ entry, ...found }) => ({ step: entry, ...found })) },
  };
}

/** Pictures to observe: none where enough were, or too few can be drawn to learn anything from. */
function sliceOf(search: Search, calibration: Calibration, grid: readonly number[]): number {
  const observedCost = search.plainCost + grid.length * search.lookCost;
  const most = Math.floor(search.left / observedCost);
  if (grid.length === 0 || calibration.size >= ENOUGH || most < 2) return 0;
  return Math.min(most, LARGEST_SLICE, Math.max(SMALLEST_SLICE, Math.round(SLICE * most)));
}

function prunedBy(entry: number, entries: number, score: number | null): string {
  const found = score === null ? "no finite score" : score.toFixed(3);
  return `its preview after ${entry} of ${entries} steps scored ${found}`;
}

function offMessage(fidelity: readonly PreviewFidelity[], observed: number): string {
  const best = fidelity.toSorted((a, b) => b.rankCorrelation - a.rankCorrelation)[0];
  if (best === undefined)
    return "halving: too few pictures to learn what previews are worth; all were drawn to the end";
  return `halving: dropping pictures by their previews would not pay here (best rank correlation with the final score ${best.rankCorrelation.toFixed(2)}, after step ${best.entry}, of ${observed} pictures, all there is to go by); all were drawn to the end`;
}
