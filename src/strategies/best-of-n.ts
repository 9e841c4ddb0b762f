/** @file Best-of-n: draw n candidates from consecutive seeds, score them all, rank them. */

import type { ImageRequest } from "../backends/contract.js";
import { promptMeaning } from "../prompts/attention-syntax.js";
import { throwIfAborted } from "../util/abort.js";
import type { Scored, StopReason, Strategy, StrategyContext, StrategyEvent } from "./contract.js";
import { ahead, candidatesOf, detailsOf, isReached, scoreGroup, spentOf } from "./drawing.js";
import { finiteOrNull, rank } from "./rank.js";

/** The strategy `best-of-n`. */
export const bestOfN: Strategy = { name: "best-of-n", run };

async function* run(context: StrategyContext): AsyncGenerator<StrategyEvent, void> {
  const { request, budget, signal } = context;
  const now = context.now ?? (() => performance.now());
  const startedAt = now();
  const total = Math.min(request.count, budget.candidates);
  const scored = new Map<number, Scored>();
  for (const one of context.finished ?? []) if (one.index < total) scored.set(one.index, one);
  const warned = new Set<string>();
  let evaluations = 0;
  let reason: StopReason = "complete";

  const spent = (): StopReason =>
    spentOf(budget, { evaluations, milliseconds: now() - startedAt, scored: scored.values() });
  const warn = function* (messages: readonly string[]): Generator<StrategyEvent, void> {
    for (const message of messages) {
      if (warned.has(message)) continue;
      warned.add(message);
      yield { type: "warning", message };
    }
  };

  // with a goal, a group is asked for only once the one before it did not reach it: what is drawn may cost money
  const goal = budget.until !== undefined;
  const scoredPrompt = context.scoredPrompt ?? promptMeaning(request.prompt, request.promptSyntax ?? "plain");
  stretches: for (const stretch of unfinishedStretches(total, request.batch, scored, goal)) {
    if ((reason = spent()) !== "complete") break;
    const part: ImageRequest = { ...request, seed: request.seed + stretch.start, count: stretch.count };
    const groups = context.backend.generate(part, { signal, onProgress: context.onProgress });
    try {
      let next = ahead(groups);
      for (;;) {
        const drawn = await next;
        if (drawn.done === true) break;
        const group = drawn.value;
        for (const one of group.images) evaluations += one.evaluations;
        reason = spent();
        // The next group is drawn while this one is scored and stored.
        if (reason === "complete" && !goal) next = ahead(groups);
        const candidates = candidatesOf(group, request, 0, { strategy: bestOfN.name, parent: null, round: 0 });
        const fresh = candidates.filter((candidate) => !scored.has(candidate.index));
        for (const candidate of fresh) yield { type: "candidate", candidate };
        yield* warn(group.warnings);
        throwIfAborted(signal);
        // The whole group is scored even when part of it is known: a number then never depends on where a run was interrupted.
        const result = await scoreGroup(context, scoredPrompt, candidates);
        yield* warn(result.warnings);
        for (const [position, candidate] of candidates.entries()) {
          if (scored.has(candidate.index)) continue;
          const value = result.scores[position];
          const score = finiteOrNull(value);
          if (score === null && context.reward !== undefined) {
            yield* warn([
              `candidate ${candidate.index} (seed ${candidate.seed}): expected a finite score, got ${String(value)}; it ranks last`,
            ]);
          }
          scored.set(candidate.index, { index: candidate.index, seed: candidate.seed, score });
          yield { type: "scored", candidate, score, details: detailsOf(result, position) };
        }
        if (goal) reason = spent();
        if (reason !== "complete") break stretches;
        if (goal) break;
      }
    } finally {
      await groups.return(undefined);
    }
  }
  if (isReached(budget, scored.values())) reason = "reached";
  else if (scored.size === total) reason = "complete";
  yield { type: "done", reason, ranking: rank(scored.values()), evaluations };
}

/**
 * The stretches of indices still to be drawn. They start and end on the borders of groups: a group that lacks one candidate is drawn whole,
 * so that a resumed run computes with exactly the batches an undisturbed run computes with.
 * @param apart true keeps groups that follow each other apart
 */
export function unfinishedStretches(
  total: number,
  batch: number,
  finished: ReadonlyMap<number, unknown>,
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
