/** @file Searches for a prompt that is drawn better: prompts race over shared seeds, the best is compared with the original on fresh ones. */

import { UsageError } from "../../errors.js";
import { promptMeaning } from "../../prompts/attention-syntax.js";
import type { Refinement, Strategy, StrategyContext, StrategyEvent } from "../contract.js";
import { rank } from "../rank.js";
import { allocate, divide } from "./allocation.js";
import { conclude, recordsOf, verdict } from "./conclusion.js";
import type { Proposal, Refiner } from "./contract.js";
import { type Job, RefinementWork } from "./work.js";

/**
 * The strategy that spends its candidates on prompts that `refiner` proposes. Every candidate is scored against the original prompt. The last event
 * `refined` names the winner: a prompt that beat the original on seeds nothing was chosen by, or the original.
 */
export function refineWith(refiner: Refiner): Strategy {
  return { name: refiner.name, run: (context) => refine(context, refiner) };
}

async function* refine(context: StrategyContext, refiner: Refiner): AsyncGenerator<StrategyEvent, void> {
  const { request, reward } = context;
  if (reward === undefined) throw new UsageError(`${refiner.name}: expected a reward to judge prompts by, got none`);
  const original = request.prompt;
  const scoredPrompt = context.scoredPrompt ?? promptMeaning(original, request.promptSyntax ?? "plain");
  const work = new RefinementWork(context, reward, refiner.name, scoredPrompt);
  const { rungs, pairs } = allocate(work.total);
  const known = new Map<string, Proposal | null>([[original, null]]);

  const jobOf = (prompt: string, phase: Refinement["phase"], round: number, seed: number, count: number): Job => {
    const { parent = null, edit = null } = known.get(prompt) ?? {};
    return { prompt, refinement: { from: parent, edit, phase }, round, seed, count };
  };
  /** Prompts that join in a round: those a killed run recorded, then what the refiner proposes. */
  const newcomers = async function* (count: number, round: number): AsyncGenerator<StrategyEvent, readonly string[]> {
    if (count < 1) return [];
    const joining: string[] = [];
    const join = ({ prompt, parent, edit }: Proposal): void => {
      const text = prompt.trim();
      if (joining.length >= count || text === "" || known.has(text)) return;
      known.set(text, { prompt: text, parent: known.has(parent) ? parent : original, edit });
      joining.push(text);
    };
    for (const proposal of work.recordedProposals(round)) join(proposal);
    if (joining.length < count && !work.isBeyond(round)) {
      const { promptSyntax = "plain", seed } = request;
      const history = recordsOf(work.draws, original);
      const state = { original, promptSyntax, history, round, seed };
      const { proposals, warnings } = await refiner.propose(state, count, context.signal);
      yield* work.warn(warnings);
      for (const proposal of proposals) join(proposal);
    }
    for (const prompt of joining) yield { type: "refined", prompt, round };
    return joining;
  };
  const best = (prompts: readonly string[]): string[] => {
    const records = recordsOf(work.draws, original);
    const racing = prompts.flatMap((prompt) => {
      const record = records.find((one) => one.prompt === prompt);
      return record === undefined || record.excluded !== null ? [] : [{ prompt, score: record.mean }];
    });
    return rank(racing.map((one, index) => ({ ...one, index }))).map(({ prompt }) => prompt);
  };

  let racing: readonly string[] = [];
  let seeds = 0;
  let purse = 0;
  for (const [round, rung] of rungs.entries()) {
    purse += rung.share;
    const step = rung.seeds - seeds;
    const division = divide(purse, rung, racing.length, seeds);
    const staying = racing.slice(0, division.survivors);
    const joining = yield* newcomers(division.newcomers, round);
    const jobs = [
      ...[original, ...staying].map((prompt) => jobOf(prompt, "search", round, seeds, step)),
      ...joining.map((prompt) => jobOf(prompt, "search", round, 0, rung.seeds)),
    ];
    purse -= yield* work.draw(jobs);
    if (work.reason !== "complete") break;
    racing = best([...staying, ...joining]);
    seeds = rung.seeds;
  }

  if (work.reason === "complete") {
    const round = rungs.length;
    const finalist = rungs.length > 0 ? racing[0] : (yield* newcomers(Math.min(1, pairs), round))[0];
    const left = work.total - work.drawn;
    const half = Math.floor(left / 2);
    yield* work.draw(
      finalist === undefined
        ? [jobOf(original, "search", round, seeds, left)]
        : [jobOf(original, "confirm", round, seeds, half), jobOf(finalist, "confirm", round, seeds, left - half)],
    );
  }
  const conclusion = conclude(work.draws, original);
  if (conclusion.winner === original) yield* work.warn([verdict(conclusion)]);
  yield { type: "refined", prompt: conclusion.winner, round: rungs.length };
  yield { type: "done", reason: work.reason, ranking: rank(work.draws), evaluations: work.evaluations };
}
