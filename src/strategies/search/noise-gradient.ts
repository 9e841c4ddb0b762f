/** @file Gradient ascent on the noise: the reward is followed back through decoder and sampler to the latents that a picture comes from. */

import type { LatentState } from "../../diffusion/latents.js";
import { UsageError } from "../../errors.js";
import type { Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import type { SearchGradients } from "./gradients.js";
import { type AscentSettings, moveUphill } from "./noise-ascent.js";
import { type Complete, type Judged, Search } from "./search.js";

/** Settings of {@link noiseGradient}. */
export interface NoiseGradientOptions {
  /** Least share of the budget that is drawn plainly from seeds first; the ascent begins at the best of them. 0 may begin at the first seed, as published. @default 0.75 */
  readonly explore?: number | undefined;
  /**
   * Share of the way, 0 to below 1, after which the latents are moved: 0 is the noise itself, as published. Later ones take less to draw anew, and change
   * less of the picture. @default 0.7
   */
  readonly from?: number | undefined;
  /**
   * The last entries of the sampler that the gradient passes through the denoiser in; through those before it passes by the sampler's coefficients alone.
   * @default 1
   */
  readonly through?: number | undefined;
  /** Length of a step along a gradient that is clipped, as a share of the length of what is moved. Published: 0.004 for 64x64 latents. @default 0.1 */
  readonly learningRate?: number | undefined;
  /** Largest norm of the gradient; a larger one is scaled down to it. Published: 0.1. @default 0.01 */
  readonly clip?: number | undefined;
  /** Nesterov momentum of the ascent, 0 to below 1. Published: 0.9. @default 0 */
  readonly momentum?: number | undefined;
  /** Weight of the log density of the noise's norm beside the reward; only where the noise itself is moved. @default 0.01 */
  readonly regulariser?: number | undefined;
  /** Steps in a row that may score less before the ascent goes back to the best, with half the learning rate. Published: no limit. @default 0 */
  readonly patience?: number | undefined;
  /** Most steps of the ascent; what they do not take of the budget is drawn plainly before it. Published: 50. @default 3 */
  readonly iterations?: number | undefined;
}

/**
 * The strategy `noise-gradient` (ReNO, Eyring et al. 2024, arXiv 2406.04312): gradient ascent of the reward on the noise that a picture begins with. Ours
 * begins at the best of some pictures, and by default moves the latents of a later entry instead of the noise: see the settings.
 * @throws UsageError for settings out of range
 */
export function noiseGradient(options: NoiseGradientOptions = {}): Strategy {
  const { explore = 0.75, from = 0.7, through = 1, learningRate = 0.1, clip = 0.01 } = options;
  const { momentum = 0, regulariser = 0.01, patience = 0, iterations = 3 } = options;
  const expected = (name: string, what: string, value: number): string => `${name}: expected ${what}, got ${value}`;
  const share = (name: string, value: number): string[] =>
    value >= 0 && value < 1 ? [] : [expected(name, "a share from 0, below 1", value)];
  const above = (name: string, value: number): string[] =>
    value > 0 && value < Infinity ? [] : [expected(name, "a number above 0", value)];
  const whole = (name: string, value: number, least: number): string[] =>
    Number.isInteger(value) && value >= least ? [] : [expected(name, `a whole number from ${least} on`, value)];
  const problems = [
    ...share("explore", explore),
    ...share("from", from),
    ...whole("through", through, 0),
    ...above("learningRate", learningRate),
    ...above("clip", clip),
    ...share("momentum", momentum),
    ...(regulariser >= 0 && regulariser < Infinity ? [] : [expected("regulariser", "a number from 0 on", regulariser)]),
    ...whole("patience", patience, 0),
    ...whole("iterations", iterations, 1),
  ];
  if (problems.length > 0) throw new UsageError(`noise-gradient: ${problems.join("; ")}`);
  const settings = { explore, from, through, learningRate, clip, momentum, regulariser, patience, iterations };
  return {
    name: "noise-gradient",
    check: async (context) => void openAscent(await Search.open("noise-gradient", context), settings),
    run: (context) => run(context, settings),
  };
}

/** What an ascent works with. */
interface Ascent {
  readonly gradients: SearchGradients;
  /** The entry whose latents are moved. */
  readonly entry: number;
  /** Operations of drawing the picture of moved latents. */
  readonly redraw: number;
  /** Operations of a gradient. */
  readonly slope: number;
}

/** @throws UsageError where the reward has no gradients, or the budget is for less than a picture and a step */
function openAscent(search: Search, settings: Complete<NoiseGradientOptions>): Ascent {
  const gradients = search.gradients();
  const entry = Math.min(Math.round(settings.from * search.entries), search.entries - 1);
  const redraw = (search.entries - entry) * search.entryCost + search.lookCost;
  const slope = gradients.cost(Math.min(settings.through, search.entries - entry));
  search.expectBudget(search.plainCost + redraw + slope, "a picture and a step of the ascent");
  return { gradients, entry, redraw, slope };
}

/** A picture that an ascent can go on from. */
interface Point {
  /** Before the moved entry and each after it, and at the end; the start alone where the others were not kept. */
  readonly states: readonly LatentState[];
  readonly index: number;
  readonly score: number | null;
  /** How its score changes with the first of the states; undefined before that was asked. */
  readonly gradient: Float32Array | undefined;
}

async function* run(
  context: StrategyContext,
  settings: Complete<NoiseGradientOptions>,
): AsyncGenerator<StrategyEvent, void> {
  const search = await Search.open("noise-gradient", context);
  yield* search.warn(search.trajectory.warnings);
  const ascent = openAscent(search, settings);
  const climber = new Climber(context, search, ascent, settings);
  yield* climber.measureTime();
  yield* climber.explore();
  yield* climber.ascend();
  yield* climber.drawPlainly(search.affordable);
  yield search.done(search.spent());
}

/** Below this share of its first length a step is not worth a picture. */
const SHORTEST = 1 / 64;

/** Draws pictures, and keeps the best of them. */
class Climber {
  #told = 0;
  #seeds = 0;
  #best: Point | undefined;

  constructor(
    private readonly context: StrategyContext,
    private readonly search: Search,
    private readonly ascent: Ascent,
    private readonly settings: Complete<NoiseGradientOptions>,
  ) {}

  /** Where time is limited, a first batch that tells what there is time for. */
  async *measureTime(): AsyncGenerator<StrategyEvent, void> {
    const judged = yield* this.search.firstBatch();
    const starts = this.search.start(0, judged.length);
    for (const [i, { score }] of judged.entries())
      if (score !== null && score > (this.#best?.score ?? -Infinity))
        this.#best = { states: [starts[i]!], index: i, score, gradient: undefined };
    this.#told = this.#seeds = judged.length;
  }

  /** Pictures of seeds, as many as the settings want and leave a step of the ascent; at least one. */
  async *explore(): AsyncGenerator<StrategyEvent, void> {
    const { search, ascent, settings } = this;
    const besides = (iterations: number): number =>
      Math.floor((search.left - iterations * (ascent.redraw + ascent.slope)) / search.plainCost + 1e-9);
    const wanted = Math.max(
      Math.round((settings.explore * search.left) / search.plainCost),
      besides(settings.iterations),
    );
    yield* this.drawPlainly(Math.max(this.#seeds === 0 ? 1 : 0, Math.min(wanted, besides(1))));
  }

  /** Pictures of the next seeds, in groups so that a limit of time or a goal ends the search between them. */
  async *drawPlainly(count: number): AsyncGenerator<StrategyEvent, void> {
    const { search, context } = this;
    for (const end = this.#seeds + count; this.#seeds < end && search.spent() === "complete";) {
      const starts = search.start(this.#seeds, Math.min(context.request.batch, end - this.#seeds));
      this.#seeds += starts.length;
      yield* this.#draw(starts, { parent: null, round: 0 });
    }
  }

  /** From the best picture uphill, as long as the budget pays for a step and its picture. */
  async *ascend(): AsyncGenerator<StrategyEvent, void> {
    const { search, ascent, settings } = this;
    const { learningRate, patience, iterations } = settings;
    let [point, rate, velocity] = [this.#best, learningRate, undefined as Float64Array | undefined];
    let below = 0;
    for (let round = 1; point !== undefined && round <= iterations && rate >= SHORTEST * learningRate; round++) {
      const again = point.states.length === 1 ? search.entries * search.entryCost : 0;
      const cost = again + ascent.redraw + (point.gradient === undefined ? ascent.slope : 0);
      if (search.left < cost * (1 - 1e-9) || search.spent() !== "complete") return;
      point = await this.#withGradient(point);
      const lost = point.gradient!.some((value) => !Number.isFinite(value));
      if (lost) yield* search.warn([`noise-gradient: expected a finite gradient at candidate ${point.index}, got none; the ascent ${point.index === this.#best!.index ? "ends" : "goes on from the best so far with half the learning rate"}`]); // prettier-ignore
      if (lost && point.index === this.#best!.index) return;
      if (!lost) {
        const moved = moveUphill(point.states[0]!, point.gradient!, velocity, this.#settingsAt(rate));
        velocity = moved.velocity;
        const before = this.#best!;
        const drawn = (yield* this.#draw([moved.state], { parent: point.index, round }))[0]!;
        below = this.#best === before ? below + 1 : 0;
        if (below === 0 || (below <= patience && drawn.score !== null)) {
          point = drawn;
          continue;
        }
      }
      [point, rate, velocity, below] = [this.#best, rate / 2, undefined, 0];
    }
  }

  /** Draws from the states to the end, tells the pictures and keeps the best. */
  async *#draw(
    starts: readonly LatentState[],
    lineage: { readonly parent: number | null; readonly round: number },
  ): AsyncGenerator<StrategyEvent, Point[]> {
    const { search } = this;
    const passed = await this.#follow(starts);
    const judged: readonly Judged[] = await search.judge(passed.at(-1)!);
    const points: Point[] = [];
    for (const [i, one] of judged.entries()) {
      const states = passed.map((all) => all[i]!);
      const point: Point = { states: this.#kept(states), index: this.#told++, score: one.score, gradient: undefined };
      yield* search.tell(one, point.index, lineage);
      if (one.score !== null && one.score > (this.#best?.score ?? -Infinity)) this.#best = point;
      points.push(point);
    }
    return points;
  }

  /** The states before each entry and at the end. */
  async #follow(starts: readonly LatentState[]): Promise<(readonly LatentState[])[]> {
    const passed = [starts];
    for (let states = starts; states[0]!.stepIndex < this.search.entries; passed.push(states))
      states = await this.search.advance(states, 1);
    return passed;
  }

  #kept(states: readonly LatentState[]): readonly LatentState[] {
    return states.filter(({ stepIndex }) => stepIndex >= this.ascent.entry);
  }

  async #withGradient(point: Point): Promise<Point> {
    if (point.gradient !== undefined) return point;
    const states =
      point.states.length > 1 ? point.states : this.#kept((await this.#follow(point.states)).map(([one]) => one!));
    const { gradient } = await this.ascent.gradients.slope(states, this.settings.through);
    const known = { ...point, states, gradient };
    // it is asked again where a step from the best leads down
    if (this.#best?.index === point.index) this.#best = known;
    return known;
  }

  #settingsAt(learningRate: number): AscentSettings {
    const { clip, momentum, regulariser } = this.settings;
    return {
      learningRate,
      clip,
      momentum,
      regulariser,
      noise: this.ascent.entry === 0 ? this.search.trajectory : undefined,
    };
  }
}
