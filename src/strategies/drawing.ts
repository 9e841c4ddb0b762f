/** @file What strategies share: groups drawn ahead, made into candidates, scored, told. */

import type { GeneratedGroup, ImageRequest, ImageSettings } from "../backends/contract.js";
import { InternalError } from "../errors.js";
import { promptMeaning } from "../prompts/attention-syntax.js";
import type { RewardResult } from "../rewards/contract.js";
import { throwIfAborted } from "../util/abort.js";
import type {
  Budget,
  Candidate,
  Lineage,
  Scored,
  ScoreDetails,
  StopReason,
  StrategyContext,
  StrategyEvent,
} from "./contract.js";
import { finiteOrNull, rank } from "./rank.js";

/** Pictures of consecutive seeds that are drawn alike. */
export interface DrawnPart {
  readonly request: ImageRequest;
  /** Index of its first candidate. */
  readonly first: number;
  readonly lineage: Lineage;
  /** Whether a candidate that an interrupted run has is not drawn again. @default always */
  readonly spares?: ((index: number) => boolean) | undefined;
  /** Share of the budget's evaluations and time after which no further group of it is drawn. @default 1 */
  readonly share?: number | undefined;
  /** Called with every candidate that was drawn, those among them that an interrupted run has, and its score. */
  readonly onDrawn?: ((candidate: Candidate, score: number | null) => void) | undefined;
}

/** A group that was drawn. */
interface JudgedGroup {
  readonly candidates: readonly Candidate[];
  readonly warnings: readonly string[];
  /** What the reward says of it, which is asked once. */
  readonly scores: () => Promise<RewardResult>;
}

/** The drawing of one prompt's candidates, part by part, under a budget. What an interrupted run has is not told again. */
export class Drawing {
  /** Every candidate so far by its index, those of an interrupted run from the start. */
  readonly scored = new Map<number, Scored>();
  /** Evaluations of the denoiser. */
  evaluations = 0;
  /** What of the budget ended the drawing; `complete` while nothing did. */
  reason: StopReason = "complete";
  readonly #context: StrategyContext;
  /** Evaluations of the candidates that are drawn now. */
  #fresh = 0;
  /** Index up to which all is drawn: what an interrupted run has beyond it is not counted yet, so that its last group is completed. */
  #reached = 0;
  readonly #prompt: string;
  readonly #warned = new Set<string>();
  readonly #now: () => number;
  readonly #startedAt: number;

  constructor(context: StrategyContext) {
    const { request, finished = [] } = context;
    this.#context = context;
    this.#prompt = context.scoredPrompt ?? promptMeaning(request.prompt, request.promptSyntax ?? "plain");
    for (const { index, seed, score } of finished) this.scored.set(index, { index, seed, score });
    this.#now = context.now ?? (() => performance.now());
    this.#startedAt = this.#now();
  }

  /** Draws what a part lacks. Stops at the end of a group when the budget is spent, and says so in `reason`. */
  async *draw(part: DrawnPart): AsyncGenerator<StrategyEvent, void> {
    const { request, first, spares = () => true, share = 1 } = part;
    const { backend, budget, signal, onProgress } = this.#context;
    // with a goal, a group is asked for only once the one before it did not reach it: what is drawn may cost money
    const goal = budget.until !== undefined;
    // groups that are scored at once: what a reward at the other end of a network takes its time for
    const atOnce = goal ? 1 : (this.#context.reward?.concurrency ?? 1);
    const finished = { has: (place: number) => this.scored.has(first + place) && spares(first + place) };
    for (const { start, count } of unfinishedStretches(request.count, request.batch, finished, goal)) {
      this.#reached = first + start;
      if ((this.reason = this.#spent()) !== "complete" || (share < 1 && this.used >= share)) return;
      const groups = backend.generate({ ...request, seed: request.seed + start, count }, { signal, onProgress });
      const scoring: JudgedGroup[] = [];
      let enough = false;
      let failure: { readonly error: unknown } | undefined;
      try {
        let next: Promise<IteratorResult<GeneratedGroup, void>> | undefined = ahead(groups);
        for (;;) {
          const [oldest] = scoring;
          if (
            next !== undefined &&
            scoring.length < atOnce &&
            (oldest === undefined || (await isFirst(next, oldest)))
          ) {
            // what was drawn before it failed is kept
            const drawn = await next.catch((error: unknown) => void (failure = { error }));
            next = undefined;
            if (drawn === undefined || drawn.done === true) continue;
            this.#count(drawn.value, part);
            this.reason = this.#spent();
            enough = this.reason !== "complete" || (share < 1 && this.used >= share);
            // the next group is drawn while this one is scored and stored
            if (!enough && !goal) next = ahead(groups);
            scoring.push(this.#score(drawn.value, part, atOnce > 1));
          } else if (oldest !== undefined) {
            scoring.shift();
            yield* this.#judge(oldest, part);
            if (goal) this.reason = this.#spent();
          } else break;
        }
        if (failure !== undefined) throw failure.error;
      } finally {
        await groups.return(undefined);
      }
      if (this.reason !== "complete" || enough) return;
    }
    this.#reached = first + request.count;
  }

  /** Share of the budget's evaluations, or of its time, that is spent: the larger of the two; 0 where neither is limited. */
  get used(): number {
    const { evaluations = Infinity, seconds = Infinity } = this.#context.budget;
    return Math.max(this.#evaluated() / evaluations, (this.#now() - this.#startedAt) / (seconds * 1000));
  }

  /** Tells each warning once. */
  *warn(messages: readonly string[]): Generator<StrategyEvent, void> {
    for (const message of messages) {
      if (this.#warned.has(message)) continue;
      this.#warned.add(message);
      yield { type: "warning", message };
    }
  }

  /** The end; `reached` goes before `reason`. */
  done(reason: StopReason): StrategyEvent {
    const scored = [...this.scored.values()];
    const reached = isReached(this.#context.budget, scored);
    return { type: "done", reason: reached ? "reached" : reason, ranking: rank(scored), evaluations: this.evaluations };
  }

  #spent(): StopReason {
    const milliseconds = this.#now() - this.#startedAt;
    const evaluations = this.#evaluated();
    return spentOf(this.#context.budget, { evaluations, milliseconds, scored: this.scored.values() });
  }

  /** Evaluations of the candidates so far, each counted once. */
  #evaluated(): number {
    const before = (this.#context.finished ?? []).filter(({ index }) => index < this.#reached);
    return before.reduce((sum, one) => sum + (one.evaluations ?? 0), this.#fresh);
  }

  #count({ images }: GeneratedGroup, { request, first }: DrawnPart): void {
    for (const { seed, evaluations } of images) {
      const index = first + seed - request.seed;
      this.evaluations += evaluations;
      if (!this.scored.has(index)) this.#fresh += evaluations;
      this.#reached = index + 1;
    }
  }

  /** @param now true begins to score it */
  #score({ images, warnings }: GeneratedGroup, { request, first, lineage }: DrawnPart, now: boolean): JudgedGroup {
    const candidates = candidatesOf({ images, warnings }, request, first, lineage);
    // the whole group is scored even when part of it is known: a number then never depends on where a run was interrupted
    const score = (): Promise<RewardResult> => scoreGroup(this.#context, this.#prompt, candidates);
    if (!now) return { candidates, warnings, scores: score };
    const begun = score();
    begun.catch(() => undefined); // told when its turn comes
    return { candidates, warnings, scores: () => begun };
  }

  async *#judge({ candidates, warnings, scores }: JudgedGroup, { onDrawn }: DrawnPart): AsyncGenerator<StrategyEvent> {
    for (const candidate of candidates) if (!this.scored.has(candidate.index)) yield { type: "candidate", candidate };
    yield* this.warn(warnings);
    throwIfAborted(this.#context.signal);
    const result = await scores();
    yield* this.warn(result.warnings);
    for (const [position, candidate] of candidates.entries()) {
      const { index, seed } = candidate;
      const known = this.scored.get(index);
      const value = result.scores[position];
      const score = known === undefined ? finiteOrNull(value) : known.score;
      onDrawn?.(candidate, score);
      if (known !== undefined) continue;
      if (score === null && this.#context.reward !== undefined) {
        yield* this.warn([
          `candidate ${index} (seed ${seed}): expected a finite score, got ${String(value)}; it ranks last`,
        ]);
      }
      this.scored.set(index, { index, seed, score });
      yield { type: "scored", candidate, score, details: detailsOf(result, position) };
    }
  }
}

/** What a candidate records of the request it was drawn by. */
export function settingsOf(request: ImageRequest): ImageSettings {
  const { steps, guidance, sampler, width, height, strength, promptSyntax, clipSkip, embeddings } = request;
  const { loras, loraAnneal } = request;
  return {
    ...{ steps, guidance, sampler, width, height, strength, promptSyntax, clipSkip, embeddings },
    ...{ loras, loraAnneal },
  };
}

/** The group's pictures as candidates; picture i of the request has the index `firstIndex + i`. */
export function candidatesOf(
  group: GeneratedGroup,
  request: ImageRequest,
  firstIndex: number,
  lineage: Lineage,
): Candidate[] {
  return group.images.map(({ seed, image, evaluations, ...provenance }) => ({
    index: firstIndex + seed - request.seed,
    seed,
    prompt: request.prompt,
    negativePrompt: request.negativePrompt,
    settings: settingsOf(request),
    image,
    evaluations,
    lineage,
    ...provenance,
  }));
}

/** Scores of a group; none without a reward. @throws InternalError when the reward gives another number of scores */
export async function scoreGroup(
  { reward, signal }: StrategyContext,
  prompt: string,
  candidates: readonly Candidate[],
): Promise<Readonly<RewardResult>> {
  if (reward === undefined) return { scores: [], warnings: [] };
  const images = candidates.map((candidate) => candidate.image);
  const result = await reward.score(prompt, images, signal === undefined ? {} : { signal });
  if (result.scores.length === images.length) return result;
  throw new InternalError(`reward ${reward.name}: expected ${images.length} scores, got ${result.scores.length}`);
}

/** What the members of an ensemble and held-out rewards say of the image at `position`; undefined where one reward alone judges. */
export function detailsOf({ members, heldOut }: RewardResult, position: number): ScoreDetails | undefined {
  if (members === undefined && heldOut === undefined) return undefined;
  const own = (scores: NonNullable<RewardResult["members"]>): Record<string, number | null> =>
    Object.fromEntries(Object.entries(scores).map(([name, values]) => [name, finiteOrNull(values[position])]));
  return {
    ...(members === undefined ? {} : { scores: own(members) }),
    ...(heldOut === undefined ? {} : { heldOut: own(heldOut) }),
  };
}

/** Asks for what comes next now; a failure is kept for whoever awaits it and does not count as unhandled meanwhile. */
export function ahead<T>(stream: AsyncGenerator<T, void>): Promise<IteratorResult<T, void>> {
  const next = stream.next();
  next.catch(() => undefined);
  return next;
}

/** Whether a group is drawn before another is scored. */
function isFirst(drawing: Promise<unknown>, { scores }: JudgedGroup): Promise<boolean> {
  const [drawn, scored] = [(): boolean => true, (): boolean => false];
  return Promise.race([drawing.then(drawn, drawn), scores().then(scored, scored)]);
}

/** Whether enough candidates are good enough. */
export function isReached({ until }: Budget, scored: Iterable<Pick<Scored, "score">>): boolean {
  if (until === undefined) return false;
  let passing = 0;
  for (const { score } of scored) if (score !== null && score >= until.score) passing++;
  return passing >= until.images;
}

/** What of a budget is spent by what was done; `complete` when nothing is. */
export function spentOf(
  budget: Budget,
  done: {
    readonly evaluations: number;
    readonly milliseconds: number;
    readonly scored: Iterable<Pick<Scored, "score">>;
  },
): StopReason {
  if (budget.evaluations !== undefined && done.evaluations >= budget.evaluations) return "evaluations";
  if (budget.seconds !== undefined && done.milliseconds >= budget.seconds * 1000) return "seconds";
  return isReached(budget, done.scored) ? "reached" : "complete";
}

/**
 * The stretches of indices still to be drawn. They start and end on the borders of groups: a group that lacks one candidate is drawn whole,
 * so that a resumed run computes with exactly the batches an undisturbed run computes with.
 * @param apart true keeps groups that follow each other apart
 */
export function unfinishedStretches(
  total: number,
  batch: number,
  finished: Pick<ReadonlySet<number>, "has">,
  apart = false,
): { readonly start: number; readonly count: number }[] {
  const stretches: { start: number; count: number }[] = [];
  for (let start = 0; start < total; start += batch) {
    const end = Math.min(start + batch, total);
    let complete = true;
    for (let index = start; index < end; index++) complete &&= finished.has(index);
    if (complete) continue;
    const last = stretches.at(-1);
    if (!apart && last !== undefined && last.start + last.count === start) last.count += end - start;
    else stretches.push({ start, count: end - start });
  }
  return stretches;
}
