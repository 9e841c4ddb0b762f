/** @file What the candidates of a refinement say: how each prompt did, what each edit gained, whether one beats the original. */

import { meanInterval } from "../../util/student.js";
import type { Refinement } from "../contract.js";
import { rank } from "../rank.js";
import type { Gain, PromptRecord } from "./contract.js";

/** A scored candidate of a refinement. */
export interface Draw {
  readonly index: number;
  readonly seed: number;
  readonly prompt: string;
  readonly score: number | null;
  readonly refinement: Refinement;
}

/** How a refinement ended. */
export interface Conclusion<D extends Draw = Draw> {
  /** Every prompt drawn, the original first. */
  readonly prompts: readonly PromptRecord[];
  /** The prompt that did best in the search and was compared with the original on fresh seeds; null when there was none. */
  readonly finalist: PromptRecord | null;
  /** What the finalist gained over the original on the fresh seeds, which nothing was chosen by. */
  readonly confirmed: Gain | null;
  /** The finalist when its confirmed gain is above zero over its whole interval, or else the original. */
  readonly winner: string;
  /** The winner's best candidate; null when it has no score. */
  readonly best: D | null;
  /** The original's best candidate. */
  readonly baseline: D | null;
}

/** Every prompt of `draws`, in the order they were first drawn in. */
export function recordsOf(draws: readonly Draw[], original: string): PromptRecord[] {
  const byPrompt = new Map<string, Draw[]>();
  for (const draw of [...draws].sort((a, b) => a.index - b.index)) {
    const known = byPrompt.get(draw.prompt);
    if (known === undefined) byPrompt.set(draw.prompt, [draw]);
    else known.push(draw);
  }
  const cut = (byPrompt.get(original) ?? []).some(({ refinement }) => refinement.flag !== null);
  return [...byPrompt].map(([prompt, own]): PromptRecord => {
    const scores = own.flatMap(({ score }) => score ?? []);
    const { from, edit } = own[0]!.refinement;
    const flag = own.find(({ refinement }) => refinement.flag !== null)?.refinement.flag ?? null;
    const { estimate, low, high } = meanInterval(scores);
    return {
      prompt,
      parent: from,
      edit,
      candidates: scores.length,
      mean: scores.length === 0 ? null : estimate,
      best: scores.length === 0 ? null : Math.max(...scores),
      low,
      high,
      gain: from === null ? null : gainOf(byPrompt.get(from) ?? [], own),
      // a prompt that was cut from the start is no worse for being cut again
      excluded: prompt === original || cut ? null : flag,
    };
  });
}

/** What `after` gained over `before` on the seeds that both have scores for; null without one. */
export function gainOf(before: readonly Draw[], after: readonly Draw[]): Gain | null {
  const scores = new Map(before.map(({ seed, score }) => [seed, score]));
  const differences = after.flatMap(({ seed, score }) => {
    const other = scores.get(seed) ?? null;
    return score === null || other === null ? [] : [score - other];
  });
  if (differences.length === 0) return null;
  return { ...meanInterval(differences), seeds: differences.length };
}

/** What the candidates so far come to. */
export function conclude<D extends Draw>(draws: readonly D[], original: string): Conclusion<D> {
  const prompts = recordsOf(draws, original);
  const confirming = draws.filter(({ refinement }) => refinement.phase === "confirm");
  const of = (prompt: string, among: readonly D[]): D[] => among.filter((draw) => draw.prompt === prompt);
  const chosen = confirming.find(({ prompt }) => prompt !== original)?.prompt;
  const finalist = prompts.find(({ prompt }) => prompt === chosen) ?? null;
  const confirmed = finalist === null ? null : gainOf(of(original, confirming), of(finalist.prompt, confirming));
  const holds = finalist !== null && finalist.excluded === null && (confirmed?.low ?? -1) > 0;
  const winner = holds ? finalist.prompt : original;
  const best = (prompt: string): D | null => {
    const first = rank(of(prompt, draws))[0];
    return first === undefined || first.score === null ? null : first;
  };
  return { prompts, finalist, confirmed, winner, best: best(winner), baseline: best(original) };
}

/** The conclusion in a sentence. */
export function verdict({ finalist, confirmed, winner }: Conclusion): string {
  if (finalist === null) return "no other prompt was compared with the original one, which is kept";
  const quoted = JSON.stringify(finalist.prompt);
  if (finalist.excluded !== null) return `${quoted} did best but is not read whole; the original prompt is kept`;
  if (confirmed === null || confirmed.low === null || confirmed.high === null) {
    return `${quoted} did best, but too few candidates are left to confirm it; the original prompt is kept`;
  }
  const { estimate, low, high, seeds } = confirmed;
  const gain = `${signed(estimate)} (95 % interval ${signed(low)} to ${signed(high)}) on ${seeds} fresh seeds`;
  return winner === finalist.prompt
    ? `${quoted} beats the original prompt by ${gain}`
    : `nothing beats the original prompt, which is kept: the best other one, ${quoted}, gained ${gain}`;
}

/** A number with its sign and three decimals. */
export function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(3)}`;
}
