/** @file Image-to-image rounds: the best picture so far goes back in as the picture to start from, and is drawn on. */

import type { ImageRequest } from "../backends/contract.js";
import type { Trajectory } from "../diffusion/trajectory.js";
import { UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import type { Reward } from "../rewards/contract.js";
import { scoringOperations } from "../rewards/operations.js";
import type { Budget, Candidate, Finished, StopReason, Strategy, StrategyContext, StrategyEvent } from "./contract.js";
import { Drawing } from "./drawing.js";
import { strategyNeeds } from "./names.js";
import { plainPicture, WorkMeter } from "./search/work-meter.js";

/** Settings of {@link img2imgLoop}. */
export interface Img2ImgLoopOptions {
  /** Pictures drawn from their seeds before the rounds, as a share of the budget, above 0, below 1. @default 0.5 */
  readonly explore?: number | undefined;
  /** Rounds that the rest of the budget is spread over. @default 3 */
  readonly rounds?: number | undefined;
  /** How far the first and the last round go from the picture they start from, above 0 to 1; those between lie on a line. @default from 0.8 to 0.4 */
  readonly strength?: { readonly from?: number | undefined; readonly to?: number | undefined } | undefined;
}

const NAME = "img2img-loop";
/** Decimals of a strength that come into files. */
const DECIMALS = 4;

interface Settings {
  readonly explore: number;
  readonly rounds: number;
  readonly from: number;
  readonly to: number;
}

/**
 * The strategy `img2img-loop`: some pictures from their seeds, then rounds of pictures that start, each from a seed of its own, from the best picture so
 * far, and go from it as far as `strength` says, less and less; the best of all wins. The noise is added and taken away again as in SDEdit (Meng et
 * al. 2021, arXiv 2108.01073). It asks the backend for image-to-image alone. Its budget is the compute of the request's pictures: counted in
 * operations where the backend can be followed step by step, in pictures where not.
 * @throws UsageError for settings out of range
 */
export function img2imgLoop({ explore = 0.5, rounds = 3, strength = {} }: Img2ImgLoopOptions = {}): Strategy {
  const { from = 0.8, to = Math.min(0.4, from) } = strength;
  const isStrength = (value: number): boolean => value > 0 && value <= 1;
  const problems = [
    ...(explore > 0 && explore < 1 ? [] : [`explore: expected a share above 0, below 1, got ${explore}`]),
    ...(Number.isInteger(rounds) && rounds >= 1 ? [] : [`rounds: expected a whole number >= 1, got ${rounds}`]),
    ...(isStrength(from) ? [] : [`strength.from: expected a number above 0, up to 1, got ${from}`]),
    ...(isStrength(to) ? [] : [`strength.to: expected a number above 0, up to 1, got ${to}`]),
    ...(to > from ? [`strength.to: expected at most strength.from, which is ${from}, got ${to}`] : []),
  ];
  if (problems.length > 0) throw new UsageError(`img2img-loop: ${problems.join("; ")}`);
  return {
    name: NAME,
    check: async (context) => void expectMeans(context),
    run: (context) => run(context, { explore, rounds, from, to }),
  };
}

/** A picture that may go back in. */
interface Best {
  readonly index: number;
  readonly score: number;
  readonly picture: () => Promise<RgbImage>;
}

async function* run(context: StrategyContext, settings: Settings): AsyncGenerator<StrategyEvent, void> {
  const { request, backend, budget, finished = [] } = context;
  // nobody knows before how many pictures time will allow, or evaluations where nothing is known of the steps
  const open = budget.seconds !== undefined || (budget.evaluations !== undefined && backend.stepwise === undefined);
  const purse = await openPurse(context, expectMeans(context));
  const drawing = new Drawing(context);
  const recorded = new Map(finished.flatMap((one) => (one.picture === undefined ? [] : [[one.index, one]])));
  let best: Best | undefined;
  const consider = (index: number, score: number | null, picture: Best["picture"]): void => {
    if (score === null) return;
    if (best === undefined || score > best.score || (score === best.score && index < best.index))
      best = { index, score, picture: once(picture) };
  };
  let begun = 0;
  for (let round = 0; round <= settings.rounds; round++) {
    const parent: Best | undefined = round === 0 ? undefined : best;
    const own = parent === undefined ? request : await startingFrom(parent, request, strengthOf(settings, round, request.steps)); // prettier-ignore
    const share = round === 0 ? settings.explore : 1 / (settings.rounds - round + 1);
    const count = await purse.take(own, share, open ? lengthOf(round, begun, finished) : undefined);
    yield* drawing.draw({
      request: { ...own, seed: request.seed + begun, count },
      first: begun,
      lineage: { strategy: NAME, parent: parent?.index ?? null, round },
      share: open && round === 0 ? settings.explore : 1,
      spares: (index) => recorded.has(index),
      onDrawn: (candidate, score) => {
        purse.note(candidate);
        consider(candidate.index, score, () => Promise.resolve(candidate.image));
      },
    });
    for (let index = begun; index < begun + count; index++) {
      const one = recorded.get(index);
      if (one !== undefined) consider(index, one.score, one.picture!);
    }
    if (drawing.reason !== "complete") break;
    const end = begun + count;
    while (begun < end && drawing.scored.has(begun)) begun++;
    if (open && round === 0) purse.confine(begun, drawing.used);
  }
  const cut = drawing.reason === "complete" && begun < Math.min(request.count, budget.candidates);
  yield drawing.done(cut ? limitOf(budget) : drawing.reason);
}

/** What of a budget the rounds were laid out for, where that was not all of its candidates. */
function limitOf({ seconds, evaluations }: Budget): StopReason {
  return seconds !== undefined ? "seconds" : evaluations !== undefined ? "evaluations" : "complete";
}

/** Pictures of a round, whose first has the index `begun`, that an interrupted run went on from; undefined where it did not. */
function lengthOf(round: number, begun: number, finished: readonly Finished[]): number | undefined {
  if (!finished.some(({ lineage }) => (lineage?.round ?? 0) > round)) return undefined;
  const own = finished.filter(({ lineage }) => lineage?.round === round);
  return Math.max(begun, ...own.map(({ index }) => index + 1)) - begun;
}

/** The reward that chooses. @throws UsageError where there is none, the backend cannot start from a picture, or the budget is for less than two pictures */
function expectMeans({ backend, reward, request, budget }: StrategyContext): Reward {
  const { name, capabilities } = backend;
  if (!(request.mask === undefined ? capabilities.imageToImage : capabilities.inpainting)) {
    throw new UsageError(
      `strategy ${NAME}: expected a backend that draws on from a picture${request.mask === undefined ? "" : " and a mask"}, got ${name}`,
    );
  }
  if (reward === undefined) throw new UsageError(`strategy ${NAME}: expected a reward to choose by, got none`);
  const total = Math.min(request.count, budget.candidates);
  if (total < 2) throw new UsageError(`strategy ${NAME}: expected a budget for 2 candidates or more, got ${total}`);
  return reward;
}

/** The request started from a picture; a mask stays. */
async function startingFrom({ picture }: Best, request: ImageRequest, strength: number): Promise<ImageRequest> {
  return { ...request, init: await picture(), strength };
}

/** How far a round goes: at least one of the steps. */
function strengthOf({ from, to, rounds }: Settings, round: number, steps: number | undefined): number {
  const way = rounds === 1 ? 0 : (round - 1) / (rounds - 1);
  const scale = 10 ** DECIMALS;
  const least = steps === undefined ? 0 : Math.ceil(scale / steps);
  return Math.max(Math.round((from + way * (to - from)) * scale), least) / scale;
}

/** The same promise every time: a picture that goes back in twice is read, and encoded, once. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** What the budget has left. What is taken follows from the requests alone, so that a run that is taken up again takes the same. */
interface Purse {
  /**
   * Takes the pictures of a request that a share of what is left comes nearest to: at least one, no more than there is enough for.
   * @param known takes so many instead
   * @returns their number
   */
  take(request: ImageRequest, share: number, known: number | undefined): Promise<number>;
  /** Leaves no more than evaluations and time allow, of which a share was used by the first so many pictures of the request. */
  confine(pictures: number, used: number): void;
  /** Counts what was drawn. */
  note(candidate: Candidate): void;
}

async function openPurse(context: StrategyContext, reward: Reward): Promise<Purse> {
  const { backend, budget, request, signal } = context;
  const total = Math.min(request.count, budget.candidates);
  const most = strategyNeeds(NAME).indices * total;
  let taken = 0;
  let left = total;
  let plain = 1;
  const pay = ({
    each,
    ahead,
    share,
    known,
  }: {
    each: number;
    ahead: number;
    share: number;
    known: number | undefined;
  }): number => {
    const possible = Math.min(Math.floor((left - ahead) / each + 1e-9), most - taken);
    const count = known ?? Math.max(0, Math.min(possible, Math.max(1, Math.round((share * left - ahead) / each))));
    if (count > 0) left -= ahead + count * each;
    taken += count;
    return count;
  };
  const confine = (pictures: number, used: number): void => {
    if (used <= 0) return;
    left = Math.min(
      (total - pictures) * plain,
      left + (taken - pictures) * plain,
      (pictures * plain * (1 - used)) / used,
    );
    taken = pictures;
  };
  const model = backend.stepwise;
  if (model === undefined) {
    const take: Purse["take"] = (_, share, known) => Promise.resolve(pay({ each: 1, ahead: 0, share, known }));
    return { take, confine, note: () => undefined };
  }
  const plan = async (own: ImageRequest) => (await model.begin({ ...own, count: 1 }, { signal })).trajectory;
  const first = await plan(request);
  const meter = context.meter ?? new WorkMeter({ ...model.operations(first), scoring: scoringOperations(reward) });
  const evaluationsOf = ({ sampler, guided }: Trajectory): number => sampler.timesteps.length * (guided ? 2 : 1);
  const { encoding = 0 } = meter.costs;
  plain = plainPicture(meter.costs, evaluationsOf(first));
  const pictures = Math.min(total, (budget.evaluations ?? Infinity) / evaluationsOf(first));
  left = Math.min(pictures * plain + encodings(first) * encoding, budget.operations ?? Infinity);
  let encoded: RgbImage | undefined;
  return {
    take: async (own, share, known) => {
      const trajectory = await plan(own);
      // the model keeps what it encoded last
      const fresh = own.init === encoded ? 0 : encodings(trajectory);
      const each = plainPicture(meter.costs, evaluationsOf(trajectory));
      const count = pay({ each, ahead: fresh * encoding, share, known });
      if (count === 0) return 0;
      encoded = own.init;
      meter.count("encoding", fresh);
      return count;
    },
    confine,
    note: ({ evaluations }) => {
      meter.count("evaluation", evaluations);
      meter.count("decoding", 1);
      meter.count("scoring", 1);
    },
  };
}

/** Pictures that were encoded for a trajectory. */
function encodings({ init }: Trajectory): number {
  return Number(init?.picture !== undefined) + Number(init?.repaint?.masked !== undefined);
}
