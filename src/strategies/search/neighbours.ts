/** @file Zero-order search: pictures from noises near the best one so far. */

import type { LatentState } from "../../diffusion/latents.js";
import type { Trajectory } from "../../diffusion/trajectory.js";
import { UsageError } from "../../errors.js";
import type { Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import { type Complete, type Judged, Search } from "./search.js";

/** Settings of {@link neighbours}. */
export interface NeighbourOptions {
  /** Noises drawn anew before the search narrows, as a share of the budget; 6 or more where the budget has more. @default 0.5 */
  readonly explore?: number | undefined;
  /** Pictures of a round around the best. @default 4 */
  readonly perRound?: number | undefined;
  /** Share of fresh noise in a neighbour's variance, above 0 to 1. @default 0.25 */
  readonly radius?: number | undefined;
}

/**
 * The strategy `neighbours` (zero-order search, Ma et al. 2025, arXiv 2501.09732): after some pictures from their seeds, rounds of pictures whose noise is
 * `sqrt(1 - radius) best + sqrt(radius) fresh`, so that it stays standard normal; the best noise is the centre of the next round.
 * @throws UsageError for settings out of range
 */
export function neighbours({ explore = 0.5, perRound = 4, radius = 0.25 }: NeighbourOptions = {}): Strategy {
  const problems = [
    ...(explore > 0 && explore < 1 ? [] : [`explore: expected a share above 0, below 1, got ${explore}`]),
    ...(Number.isInteger(perRound) && perRound >= 1 ? [] : [`perRound: expected a whole number >= 1, got ${perRound}`]),
    ...(radius > 0 && radius <= 1 ? [] : [`radius: expected a share above 0, up to 1, got ${radius}`]),
  ];
  if (problems.length > 0) throw new UsageError(`neighbours: ${problems.join("; ")}`);
  return {
    name: "neighbours",
    check: async (context) => expectBudget(await Search.open("neighbours", context)),
    run: (context) => run(context, { explore, perRound, radius }),
  };
}

/** Pictures from seeds, where the budget has more: the best of fewer is seldom worth staying near. */
const LEAST_EXPLORED = 6;

function expectBudget(search: Search): void {
  search.expectBudget(2 * search.plainCost, "two pictures");
}

async function* run(
  context: StrategyContext,
  { explore, perRound, radius }: Complete<NeighbourOptions>,
): AsyncGenerator<StrategyEvent, void> {
  const search = await Search.open("neighbours", context);
  yield* search.warn(search.trajectory.warnings);
  expectBudget(search);
  let best: { readonly noise: LatentState; readonly index: number; readonly score: number } | undefined;
  const consider = ({ score }: Judged, noise: LatentState, index: number): void => {
    if (score !== null && score > (best?.score ?? -Infinity)) best = { noise, index, score };
  };
  const measured = yield* search.firstBatch();
  search.start(0, measured.length).forEach((noise, i) => consider(measured[i]!, noise, i));
  let begun = measured.length;
  const total = begun + search.affordable;
  const exploring = Math.max(1, Math.round(explore * total), Math.min(LEAST_EXPLORED, total - 1));
  for (let round = 0; search.affordable > 0 && search.spent() === "complete"; round++) {
    const centre = round === 0 ? undefined : best;
    const wanted = Math.min(round === 0 ? Math.max(0, exploring - begun) : perRound, search.affordable);
    const end = begun + wanted;
    // in groups, so that a limit of time or a goal ends the search between them
    while (begun < end && search.spent() === "complete") {
      const fresh = search.start(begun, Math.min(context.request.batch, end - begun));
      const starts =
        centre === undefined ? fresh : fresh.map((state) => near(centre.noise, state, radius, search.trajectory));
      const judged = await search.judge(await search.advance(starts, search.entries));
      for (const [i, one] of judged.entries()) {
        yield* search.tell(one, begun, { parent: centre?.index ?? null, round });
        consider(one, starts[i]!, begun++);
      }
    }
  }
  yield search.done(search.spent());
}

/** A start whose noise is between that of the centre and fresh noise, of the same variance; of a picture to start from, both have the same share. */
function near(centre: LatentState, fresh: LatentState, radius: number, { sampler, init }: Trajectory): LatentState {
  const between = (a: Float32Array, b: Float32Array): Float32Array =>
    b.map((value, i) => Math.sqrt(1 - radius) * a[i]! + Math.sqrt(radius) * value);
  if (init === undefined || centre.init === undefined || fresh.init === undefined)
    return { ...fresh, latents: between(centre.latents, fresh.latents) };
  const noise = between(centre.init.noise, fresh.init.noise);
  const weight = init.fromNoise ? sampler.initialScale : sampler.noising[0]!.noise;
  const before = fresh.init.noise;
  const latents = fresh.latents.map((value, i) => value + weight * (noise[i]! - before[i]!));
  return { ...fresh, latents, init: { ...fresh.init, noise } };
}
