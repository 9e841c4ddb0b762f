/** @file Draws and scores the candidates of a refinement, or takes them from what a killed run recorded. */

import type { GeneratedGroup, ImageRequest } from "../../backends/contract.js";
import { UsageError } from "../../errors.js";
import { promptMeaning } from "../../prompts/attention-syntax.js";
import { isTruncationWarning } from "../../prompts/truncation.js";
import type { Reward } from "../../rewards/contract.js";
import { throwIfAborted } from "../../util/abort.js";
import type { Finished, Refinement, StopReason, StrategyContext, StrategyEvent } from "../contract.js";
import { ahead, candidatesOf, detailsOf, scoreGroup, spentOf, unfinishedStretches } from "../drawing.js";
import { finiteOrNull } from "../rank.js";
import type { Draw } from "./conclusion.js";
import type { Proposal } from "./contract.js";

/** Candidates of one prompt on consecutive seeds. */
export interface Job {
  readonly prompt: string;
  readonly refinement: Omit<Refinement, "flag">;
  readonly round: number;
  /** Place of the first seed among the request's. */
  readonly seed: number;
  readonly count: number;
}

/** A group of a job. */
interface JobGroup {
  readonly job: Job;
  readonly request: ImageRequest;
  /** Index of the request's first candidate. */
  readonly index: number;
  readonly group: GeneratedGroup;
}

/** What was drawn so far. Candidates are numbered in the order of the jobs, so that a run that is taken up again numbers them alike. */
export class RefinementWork {
  /** Most candidates. */
  readonly total: number;
  readonly draws: Draw[] = [];
  /** Candidates that jobs have been given. */
  drawn = 0;
  evaluations = 0;
  /** Evaluations of the candidates, each counted once: those of a killed run when a job takes them. */
  #evaluated = 0;
  reason: StopReason = "complete";
  readonly #context: StrategyContext;
  readonly #finished: ReadonlyMap<number, Finished>;
  readonly #warned = new Set<string>();
  readonly #flags = new Map<string, string | null>();
  readonly #now: () => number;
  readonly #startedAt: number;

  constructor(
    context: StrategyContext,
    private readonly reward: Reward,
    private readonly strategy: string,
    private readonly scoredPrompt: string,
  ) {
    this.#context = context;
    this.total = Math.min(context.request.count, context.budget.candidates);
    this.#finished = new Map((context.finished ?? []).map((one) => [one.index, one]));
    this.#now = context.now ?? (() => performance.now());
    this.#startedAt = this.#now();
  }

  /** Prompts that a killed run drew first in this round, in their order. */
  recordedProposals(round: number): Proposal[] {
    return [...this.#finished.values()]
      .sort((a, b) => a.index - b.index)
      .flatMap(({ prompt, lineage }) => {
        const { from = null, edit = null } = lineage?.refinement ?? {};
        if (lineage?.round !== round || prompt === undefined || from === null) return [];
        return [{ prompt, parent: from, edit: edit ?? "" }];
      });
  }

  /** True when a killed run had gone on to a later round: nothing joins this one any more. */
  isBeyond(round: number): boolean {
    return [...this.#finished.values()].some(({ lineage }) => (lineage?.round ?? 0) > round);
  }

  /** Tells each warning once. */
  *warn(messages: readonly string[]): Generator<StrategyEvent, void> {
    for (const message of messages) {
      if (this.#warned.has(message)) continue;
      this.#warned.add(message);
      yield { type: "warning", message };
    }
  }

  /** Draws and scores the candidates of `jobs`; returns how many they are, recorded ones included. Stops at the end of a group when a budget is spent. */
  async *draw(jobs: readonly Job[]): AsyncGenerator<StrategyEvent, number> {
    const before = this.drawn;
    const goal = this.#context.budget.until !== undefined;
    const groups = this.#groups(jobs);
    try {
      let next = ahead(groups);
      for (;;) {
        const { value, done } = await next;
        if (done === true) break;
        for (const { seed, evaluations } of value.group.images) {
          this.evaluations += evaluations;
          if (!this.#finished.has(value.index + seed - value.request.seed)) this.#evaluated += evaluations;
        }
        this.reason = this.#spent();
        // the next group is drawn while this one is scored and stored; with a goal, only once this one did not reach it
        if (this.reason === "complete" && !goal) next = ahead(groups);
        yield* this.#score(value);
        if (goal) this.reason = this.#spent();
        if (this.reason !== "complete") break;
        if (goal) next = ahead(groups);
      }
    } finally {
      await groups.return(undefined);
    }
    return this.drawn - before;
  }

  #spent(): StopReason {
    const milliseconds = this.#now() - this.#startedAt;
    return spentOf(this.#context.budget, { evaluations: this.#evaluated, milliseconds, scored: this.draws });
  }

  async *#groups(jobs: readonly Job[]): AsyncGenerator<JobGroup, void> {
    const { request, backend, signal, onProgress } = this.#context;
    for (const job of jobs) {
      const first = this.drawn;
      this.drawn += job.count;
      const known = new Map<number, Finished>();
      for (let i = 0; i < job.count; i++) {
        const one = this.#finished.get(first + i);
        if (one === undefined) continue;
        known.set(i, one);
        this.#take(one, job);
      }
      for (const { start, count } of unfinishedStretches(job.count, request.batch, known)) {
        const part = { ...request, prompt: job.prompt, seed: request.seed + job.seed + start, count };
        for await (const group of backend.generate(part, { signal, onProgress })) {
          yield { job, request: part, index: first + start, group };
        }
      }
    }
  }

  /** @throws UsageError for a candidate that this refinement would not have drawn */
  #take({ index, seed, score, prompt, lineage, evaluations = 0 }: Finished, job: Job): void {
    if (prompt !== job.prompt || lineage?.refinement === undefined) {
      const [expected, actual] = [job.prompt, prompt ?? ""].map((text) => JSON.stringify(text));
      throw new UsageError(
        `candidate ${index}: expected one of ${expected}, got one of ${actual}: it is of another run`,
      );
    }
    this.#evaluated += evaluations;
    this.draws.push({ index, seed, prompt, score, refinement: lineage.refinement });
  }

  async *#score({ job, request, index, group }: JobGroup): AsyncGenerator<StrategyEvent, void> {
    const { signal } = this.#context;
    const warnings = await this.#warningsOf(job.prompt, group.warnings);
    const refinement = { ...job.refinement, flag: warnings.flag };
    const candidates = candidatesOf(group, request, index, {
      strategy: this.strategy,
      parent: null,
      round: job.round,
      refinement,
    });
    const fresh = candidates.filter((candidate) => !this.#finished.has(candidate.index));
    for (const candidate of fresh) yield { type: "candidate", candidate };
    yield* this.warn(warnings.told);
    throwIfAborted(signal);
    // the whole group, as best-of-n does: a number then never depends on where a run was interrupted
    const result = await scoreGroup(this.#context, this.scoredPrompt, candidates);
    yield* this.warn(result.warnings);
    for (const [position, candidate] of candidates.entries()) {
      if (this.#finished.has(candidate.index)) continue;
      const value = result.scores[position];
      const score = finiteOrNull(value);
      if (score === null) {
        yield* this.warn([
          `candidate ${candidate.index} (seed ${candidate.seed}): expected a finite score, got ${String(value)}; it ranks last`,
        ]);
      }
      const { seed, prompt } = candidate;
      this.draws.push({ index: candidate.index, seed, prompt, score, refinement });
      yield { type: "scored", candidate, score, details: detailsOf(result, position) };
    }
  }

  /** What is to be told of a group, and what of its prompt is not read: by the backend, or by the reward if it were asked about this prompt. */
  async #warningsOf(
    prompt: string,
    ofGroup: readonly string[],
  ): Promise<{ readonly flag: string | null; readonly told: readonly string[] }> {
    const { promptSyntax = "plain" } = this.#context.request;
    let ofReward = this.#flags.get(prompt);
    if (ofReward === undefined) {
      // no picture is scored: all that is asked is whether the prompt fits
      const { warnings } = await this.reward.score(promptMeaning(prompt, promptSyntax), []);
      ofReward = warnings.find(isTruncationWarning) ?? null;
      this.#flags.set(prompt, ofReward);
    }
    const flag = ofGroup.find(isTruncationWarning) ?? ofReward;
    const cut = flag === null || prompt === this.#context.request.prompt ? [] : [`${JSON.stringify(prompt)}: ${flag}`];
    return { flag, told: [...ofGroup.filter((message) => message !== flag || cut.length === 0), ...cut] };
  }
}
