/** @file What searches inside a trajectory share: states on their way, looked at and scored, with everything they cost counted. */

import type { StepwiseModel } from "../../backends/contract.js";
import type { LatentState } from "../../diffusion/latents.js";
import type { DiffusionRequest } from "../../diffusion/request.js";
import type { Trajectory } from "../../diffusion/trajectory.js";
import { UsageError } from "../../errors.js";
import type { RgbImage } from "../../image/types.js";
import { promptMeaning } from "../../prompts/attention-syntax.js";
import type { Reward } from "../../rewards/contract.js";
import { scoringOperations } from "../../rewards/operations.js";
import { throwIfAborted } from "../../util/abort.js";
import type {
  Candidate,
  Lineage,
  Scored,
  ScoreDetails,
  StopReason,
  StrategyContext,
  StrategyEvent,
} from "../contract.js";
import { detailsOf, settingsOf, spentOf } from "../drawing.js";
import { finiteOrNull, rank } from "../rank.js";
import { pictureJudge, SearchGradients } from "./gradients.js";
import { plainPicture, WorkMeter } from "./work-meter.js";

/** A picture with what it scored. */
export interface Judged {
  readonly state: LatentState;
  readonly image: RgbImage;
  readonly score: number | null;
  readonly details: ScoreDetails | undefined;
}

/** A search over one request: its trajectory, its meter, and what it found. */
export class Search {
  readonly trajectory: Trajectory;
  readonly meter: WorkMeter;
  /** Evaluations of the denoiser that one entry of the sampler takes for one picture. */
  readonly passes: number;
  readonly #name: string;
  readonly #context: StrategyContext;
  readonly #model: StepwiseModel;
  readonly #reward: Reward;
  readonly #prompt: string;
  readonly #scored = new Map<number, Scored>();
  readonly #known: ReadonlyMap<number, Scored>;
  readonly #warned = new Set<string>();
  readonly #startedAt: number;
  /** When the rate of the work began to be measured, and what had been spent then. */
  #mark: { readonly at: number; readonly operations: number } | undefined;

  private constructor(
    name: string,
    context: StrategyContext,
    { model, reward, trajectory }: { model: StepwiseModel; reward: Reward; trajectory: Trajectory },
  ) {
    this.#name = name;
    this.#context = context;
    this.#model = model;
    this.#reward = reward;
    this.trajectory = trajectory;
    this.passes = trajectory.guided ? 2 : 1;
    const { request, meter, finished = [] } = context;
    this.meter = meter ?? new WorkMeter({ ...model.operations(trajectory), scoring: scoringOperations(reward) });
    this.#prompt = context.scoredPrompt ?? promptMeaning(request.prompt, request.promptSyntax ?? "plain");
    this.#known = new Map(finished.map((one) => [one.index, one]));
    this.#startedAt = this.#now();
  }

  /**
   * Begins a search.
   * @param changes of the request's sampling
   * @throws UsageError where the backend cannot be followed step by step, or nothing judges
   */
  static async open(
    name: string,
    context: StrategyContext,
    changes: Pick<DiffusionRequest, "sampler" | "eta"> = {},
  ): Promise<Search> {
    const { backend, reward, request, signal } = context;
    const model = backend.stepwise;
    if (model === undefined)
      throw new UsageError(
        `strategy ${name}: expected a backend whose pictures can be followed step by step, which local is, got ${backend.name}`,
      );
    if (reward === undefined) throw new UsageError(`strategy ${name}: expected a reward to search by, got none`);
    const { trajectory } = await model.begin({ ...request, ...changes, count: 1 }, { signal });
    return new Search(name, context, { model, reward, trajectory });
  }

  /** Entries of the sampler from noise to the end. */
  get entries(): number {
    return this.trajectory.sampler.timesteps.length;
  }

  /** Operations of a picture that is drawn without a look on the way. */
  get plainCost(): number {
    return plainPicture(this.meter.costs, this.entries * this.passes);
  }

  /** Operations of one entry of the sampler for one picture. */
  get entryCost(): number {
    return this.passes * this.meter.costs.evaluation;
  }

  /** Operations of the preview of a picture, or of the picture at its end, with its score. */
  get lookCost(): number {
    const { decoding, scoring } = this.meter.costs;
    return decoding + scoring;
  }

  /**
   * Operations that may still be spent: those of the budget's candidates, or of the pictures that its evaluations draw, and no more than its time allows at
   * the rate so far. What time allows is known after {@link firstBatch}.
   */
  get left(): number {
    return Math.min(...Object.values(this.#limits()));
  }

  /** Pictures that a plain drawing could still pay for. */
  get affordable(): number {
    return Math.floor(this.left / this.plainCost + 1e-9);
  }

  /** Pictures that there is time to take from this entry to the end, at least one; all of them where time is not limited. */
  finishable(entry: number): number {
    if (this.#context.budget.seconds === undefined) return Infinity;
    const cost = (this.entries - entry) * this.entryCost + this.lookCost;
    return Math.max(1, Math.floor(this.left / cost));
  }

  /**
   * @param operations the least that a search needs
   * @param what they are for
   * @throws UsageError where the budget is smaller, naming the least that is not
   */
  expectBudget(operations: number, what: string): void {
    const { candidates, evaluations } = this.#context.budget;
    const { complete, evaluations: drawn } = this.#limits();
    if (Math.min(complete, drawn) >= operations * (1 - 1e-9)) return;
    const pictures = Math.ceil(operations / this.plainCost - 1e-9);
    const least = `${pictures} candidates or ${pictures * this.entries * this.passes} evaluations`;
    const actual =
      drawn < complete ? `${evaluations} evaluations` : `${candidates} candidate${candidates === 1 ? "" : "s"}`;
    throw new UsageError(`strategy ${this.#name}: expected a budget for ${what}, at least ${least}, got ${actual}`);
  }

  /**
   * Where time is limited, a batch of whole pictures from the first seeds: it is told, and how long it takes tells what there is time for. Nothing where
   * time is not limited.
   */
  async *firstBatch(): AsyncGenerator<StrategyEvent, readonly Judged[]> {
    const { budget, request } = this.#context;
    if (budget.seconds === undefined) return [];
    // the first step also readies the programs
    const begun = await this.advance(this.start(0, Math.min(request.batch, this.affordable)), 1);
    this.#mark = { at: this.#now(), operations: this.meter.operations };
    const judged = await this.judge(await this.advance(begun, this.entries - 1));
    for (const [index, one] of judged.entries()) yield* this.tell(one, index, { parent: null, round: 0 });
    return judged;
  }

  /** What of the budget ended the search; `complete` when nothing did. */
  spent(): StopReason {
    return spentOf(this.#context.budget, {
      evaluations: 0,
      milliseconds: this.#now() - this.#startedAt,
      scored: this.#scored.values(),
    });
  }

  /** Candidates from consecutive seeds, the first being `place` behind the request's. */
  start(place: number, count: number): LatentState[] {
    return this.#model.start(this.trajectory, this.#context.request.seed + place, count);
  }

  /** A state that parts from another, under a sampler that draws noise. */
  fork(state: LatentState, seed: number): LatentState {
    return this.#model.fork(state, seed);
  }

  /** The states after so many more entries. @throws CancelledError when the signal aborts */
  async advance(states: readonly LatentState[], entries: number): Promise<LatentState[]> {
    const { signal, onProgress } = this.#context;
    const result: LatentState[] = [];
    for (const group of this.#groups(states)) {
      let own = group;
      for (let i = 0; i < entries; i++) {
        own = await this.#model.step(this.trajectory, own, { signal });
        this.meter.count("evaluation", own.length * this.passes);
        onProgress?.({ step: own[0]!.stepIndex, steps: this.entries, candidates: own.length });
      }
      result.push(...own);
    }
    return result;
  }

  /** The score of each state's preview; null where it is no number. */
  async look(states: readonly LatentState[]): Promise<(number | null)[]> {
    const scores: (number | null)[] = [];
    for (const group of this.#groups(states)) {
      const { signal } = this.#context;
      const images = await this.#model.preview(this.trajectory, group, { signal });
      this.meter.count("decoding", images.length);
      scores.push(...(await this.#score(images)).scores.map(finiteOrNull));
    }
    return scores;
  }

  /** The pictures of finished states with their scores. */
  async judge(states: readonly LatentState[]): Promise<Judged[]> {
    const judged: Judged[] = [];
    for (const group of this.#groups(states)) {
      const { signal } = this.#context;
      const images = await this.#model.decode(this.trajectory, group, { signal });
      this.meter.count("decoding", images.length);
      const result = await this.#score(images);
      group.forEach((state, i) => {
        const score = finiteOrNull(result.scores[i]);
        judged.push({ state, image: images[i]!, score, details: detailsOf(result, i) });
      });
    }
    return judged;
  }

  /** Gradients of the reward's scores. @throws UsageError where the reward or the model has none */
  gradients(): SearchGradients {
    const judge = pictureJudge(this.#name, this.#reward, this.#prompt);
    const { trajectory, meter } = this;
    return new SearchGradients({ model: this.#model, trajectory, judge, meter, signal: this.#context.signal });
  }

  /** Tells a found picture: a candidate and its score, unless an interrupted run has it already. */
  *tell({ state, image, score, details }: Judged, index: number, lineage: Omit<Lineage, "strategy">) {
    const { request } = this.#context;
    const known = this.#known.get(index);
    this.#scored.set(index, known ?? { index, seed: state.seed, score });
    if (known !== undefined) return;
    const candidate = this.#candidate(state, image, index, lineage);
    yield { type: "candidate", candidate } satisfies StrategyEvent;
    if (score === null)
      yield* this.warn([`candidate ${index} (seed ${state.seed} of ${request.prompt}): expected a finite score, got none; it ranks last`]); // prettier-ignore
    yield { type: "scored", candidate, score, details } satisfies StrategyEvent;
  }

  /** Warnings that were not told yet. */
  *warn(messages: readonly string[]): Generator<StrategyEvent, void> {
    for (const message of messages) {
      if (this.#warned.has(message)) continue;
      this.#warned.add(message);
      yield { type: "warning", message };
    }
  }

  /** The end; a search that did all it had planned says what of the budget its plan was cut to. */
  done(reason: StopReason): StrategyEvent {
    const evaluations = this.meter.counted("evaluation");
    const limits = Object.entries(this.#limits()) as [StopReason, number][];
    const [tightest] = limits.reduce((least, one) => (one[1] < least[1] ? one : least));
    const ended = reason === "complete" ? tightest : reason;
    return { type: "done", reason: ended, ranking: rank(this.#scored.values()), evaluations };
  }

  /** Operations that are left of each part of the budget, by how a search ends that spends them. */
  #limits(): Readonly<Record<"complete" | "evaluations" | "seconds", number>> {
    const { candidates, evaluations = Infinity, operations = Infinity, seconds = Infinity } = this.#context.budget;
    const { plainCost, meter } = this;
    const drawn = evaluations / (this.entries * this.passes);
    const [now, mark] = [this.#now(), this.#mark];
    const rate =
      mark === undefined || now <= mark.at ? Infinity : (meter.operations - mark.operations) / (now - mark.at);
    const time = seconds === Infinity ? Infinity : Math.max(0, this.#startedAt + seconds * 1000 - now);
    return {
      complete: Math.min(candidates * plainCost, operations) - meter.operations,
      evaluations: drawn * plainCost - meter.operations,
      seconds: time === 0 ? 0 : time * rate,
    };
  }

  async #score(images: readonly RgbImage[]) {
    const { signal } = this.#context;
    throwIfAborted(signal);
    this.meter.count("scoring", images.length);
    return this.#reward.score(this.#prompt, images, signal === undefined ? {} : { signal });
  }

  *#groups(states: readonly LatentState[]): Generator<LatentState[], void> {
    const { batch } = this.#context.request;
    for (let at = 0; at < states.length; at += batch) yield states.slice(at, at + batch);
  }

  #candidate(state: LatentState, image: RgbImage, index: number, lineage: Omit<Lineage, "strategy">): Candidate {
    const { request } = this.#context;
    return {
      index,
      seed: state.seed,
      prompt: request.prompt,
      negativePrompt: request.negativePrompt,
      settings: { ...settingsOf(request), sampler: this.trajectory.request.sampler },
      image,
      evaluations: state.evaluations,
      lineage: { strategy: this.#name, ...lineage },
    };
  }

  #now(): number {
    return (this.#context.now ?? (() => performance.now()))();
  }
}

/** Settings with every choice made. */
export type Complete<T> = { readonly [Name in keyof T]-?: Exclude<T[Name], undefined> };
