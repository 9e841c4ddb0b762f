/** @file Feynman-Kac steering: particles on the way to pictures are copied and dropped by the rewards of their previews. */

import type { LatentState } from "../../diffusion/latents.js";
import { UsageError } from "../../errors.js";
import { TorchGenerator } from "../../tensor/random.js";
import type { Parting, Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import { effectiveSampleSize, fromLogarithms, placed, systematicResample } from "./resample.js";
import { type Complete, Search } from "./search.js";

/** How much a particle counts: by the best reward on its way, by the sum of them, or by the last gain. */
export const POTENTIALS = ["max", "add", "diff"] as const;
/** A potential. */
export type Potential = (typeof POTENTIALS)[number];

/** Settings of {@link particles}. */
export interface ParticleOptions {
  /** @default "max" */
  readonly potential?: Potential | undefined;
  /** How sharply the reward is followed: weights are exp(lambda * potential). Published for models of 100 steps: 10. @default 3 */
  readonly lambda?: number | undefined;
  /** First and last share of the way at which particles are resampled, and how many times. Published: from 0.2 to 0.8, 4 times. @default from 0.5 to 0.8, twice: earlier previews tell little */
  readonly schedule?:
    | { readonly from?: number | undefined; readonly to?: number | undefined; readonly times?: number | undefined }
    | undefined;
  /** Resampled when fewer than this share of the particles count. @default 0.5 */
  readonly threshold?: number | undefined;
  /** Share of fresh noise of the ddim sampler, which particles need to part. @default 1 */
  readonly eta?: number | undefined;
}

/** When particles are resampled, complete. */
type Schedule = Complete<NonNullable<ParticleOptions["schedule"]>>;

/** The entries after which particles are resampled. */
export function resamplingEntries(entries: number, { from, to, times }: Schedule): number[] {
  const shares = Array.from({ length: times }, (_, i) => (times === 1 ? from : from + ((to - from) * i) / (times - 1)));
  const found = shares.map((share) => Math.round(share * entries)).filter((entry) => entry >= 1 && entry < entries);
  return [...new Set(found)];
}

/**
 * The strategy `particles` (Singhal et al. 2025, arXiv 2501.06848): as many particles as the budget pays for go through a stochastic sampler together; at some
 * steps each is weighted by exp(lambda * potential) of its preview's rewards, and where few of them count they are resampled.
 * @throws UsageError for settings out of range
 */
export function particles(options: ParticleOptions = {}): Strategy {
  const { lambda = 3, threshold = 0.5, eta = 1 } = options;
  const { from = 0.5, to = Math.max(0.8, from), times = 2 } = options.schedule ?? {};
  const schedule = { from, to, times };
  const problems = [
    ...(lambda > 0 ? [] : [`lambda: expected a number above 0, got ${lambda}`]),
    ...(threshold >= 0 && threshold <= 1 ? [] : [`threshold: expected a share from 0 to 1, got ${threshold}`]),
    ...(eta > 0 && eta <= 1 ? [] : [`eta: expected a share above 0, up to 1, got ${eta}`]),
    ...(schedule.from > 0 && schedule.to < 1 && schedule.from <= schedule.to && schedule.times >= 1
      ? []
      : [`schedule: expected 0 < from <= to < 1 and one time or more, got ${JSON.stringify(schedule)}`]),
  ];
  if (problems.length > 0) throw new UsageError(`particles: ${problems.join("; ")}`);
  const complete = { potential: options.potential ?? "max", lambda, threshold, eta, schedule };
  return {
    name: "particles",
    check: async (context) => void particlesFor(await openSearch(context, complete), complete),
    run: (context) => run(context, complete),
  };
}

/** The settings, every choice made. */
type Settings = Complete<Omit<ParticleOptions, "schedule">> & { readonly schedule: Schedule };

function openSearch(context: StrategyContext, { eta }: Settings): Promise<Search> {
  return Search.open("particles", context, { sampler: "ddim", eta });
}

/** The entries at which particles are looked at, and what one costs. @throws UsageError where the budget does not pay for two */
function particlesFor(search: Search, { schedule }: Settings): { readonly entries: number[]; readonly cost: number } {
  const entries = resamplingEntries(search.entries, schedule);
  const cost = search.plainCost + entries.length * search.lookCost;
  search.expectBudget(2 * cost, "two particles");
  return { entries, cost };
}

/** A particle: its state, the rewards of its previews so far, and the last of them when it was last resampled. */
interface Particle {
  readonly state: LatentState;
  readonly rewards: readonly number[];
  readonly anchor: number;
  /** The seed of its noise. */
  readonly origin: number;
  readonly path: readonly Parting[];
}

async function* run(context: StrategyContext, settings: Settings): AsyncGenerator<StrategyEvent, void> {
  const { potential, lambda, threshold, eta } = settings;
  const search = await openSearch(context, settings);
  yield* search.warn(search.trajectory.warnings);
  const { sampler } = context.request;
  if (sampler !== undefined && sampler !== "ddim")
    yield* search.warn([`particles: drawn with ddim and eta ${eta}, which lets copies part, instead of ${sampler}`]);
  const { entries, cost } = particlesFor(search, settings);
  const first = (yield* search.firstBatch()).length;
  const count = Math.floor(search.left / cost + 1e-9);
  // time, and nothing else, may have become too short
  if (count < 2) {
    yield search.done("seconds");
    return;
  }
  // draws for the resampling alone: the pictures' own are in their states
  const dice = new TorchGenerator(context.request.seed);
  let alive: Particle[] = search
    .start(first, count)
    .map((state) => ({ state, rewards: [], anchor: 0, origin: state.seed, path: [] }));
  yield { type: "plan", steps: search.entries, begun: first + count, cuts: entries.map((step) => ({ step, keep: 1 })) };
  for (const [round, entry] of entries.entries()) {
    const states = await search.advance(
      alive.map(({ state }) => state),
      entry - alive[0]!.state.stepIndex,
    );
    const looks = await search.look(states);
    for (const [index, score] of looks.entries()) yield { type: "look", index: first + index, step: entry, score };
    alive = alive.map((one, i) => ({ ...one, state: states[i]!, rewards: [...one.rewards, looks[i] ?? -Infinity] }));
    const weights = fromLogarithms(alive.map((one) => lambda * potentialOf(potential, one)));
    if (effectiveSampleSize(weights) >= threshold * alive.length) continue;
    const [offset] = dice.uniform(1);
    const sources = placed(systematicResample(weights, offset!));
    const reason = `resampled away after ${entry} of ${search.entries} steps`;
    for (const [index, from] of sources.entries())
      if (from !== index) yield { type: "pruned", index: first + index, step: entry, reason };
    for (const [index, from] of sources.entries())
      if (from !== index) yield { type: "parted", index: first + index, from: first + from, step: entry };
    // what is chosen goes on where it is, and its copies part from it in the places of what is not
    alive = sources.map((from, place) => {
      const particle = { ...alive[from]!, anchor: latest(alive[from]!) };
      if (from === place) return particle;
      const seed = context.request.seed + first + (round + 1) * count + place;
      return {
        ...particle,
        state: search.fork(particle.state, seed),
        path: [...particle.path, { step: entry, from: first + from }],
      };
    });
  }
  // in groups, so that a limit of time or a goal ends the search between them
  for (let place = 0; place < count && search.spent() === "complete";) {
    const group = alive.slice(place, place + context.request.batch);
    const states = group.map(({ state }) => state);
    const judged = await search.judge(await search.advance(states, search.entries - states[0]!.stepIndex));
    for (const one of judged) {
      const { origin, path } = alive[place]!;
      yield* search.tell(one, first + place++, { parent: null, round: entries.length, origin, path });
    }
  }
  yield search.done(search.spent());
}

/** How much a particle counts, as a logarithm without lambda; one whose last preview had no finite score counts least. */
function potentialOf(potential: Potential, { rewards, anchor }: Particle): number {
  switch (potential) {
    case "max":
      return Math.max(...rewards);
    case "add":
      return rewards.reduce((sum, reward) => sum + reward, 0);
    case "diff":
      return rewards.at(-1)! - anchor;
    default:
      return potential satisfies never;
  }
}

/** The last of its rewards that is a number, which its later gains are counted from; 0 before there is one. */
function latest({ rewards }: Particle): number {
  return rewards.findLast((reward) => reward !== -Infinity) ?? 0;
}
