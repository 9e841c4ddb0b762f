/** @file A search in rounds on the page of its run: which picture, or which prompt, was made from which, and what each round brought. */

import type { RankedCandidate } from "../pipeline/ranked.js";
import type { RunManifest } from "../pipeline/manifest.js";
import { conclude, type Draw, verdict } from "../strategies/refine/conclusion.js";
import { mean } from "../util/statistics.js";
import { format } from "./distribution.js";
import { type Html, html } from "./html.js";
import { niceScale } from "./scale.js";
import { type Tone, type WayPoint, waysChart } from "./ways.js";

/** A picture of a search for prompts. */
interface RoundDraw extends Draw {
  readonly round: number;
}

/** Width of a round over which its pictures are spread. */
const SPREAD = 0.6;

/** The section; null for a run of which no picture was made from another, and no prompt. */
export function roundsSection({ config, models }: RunManifest, ranking: readonly RankedCandidate[]): Html | null {
  const ordered = [...ranking].sort((a, b) => a.lineage.round - b.lineage.round || a.index - b.index);
  const draws = ordered.flatMap(drawOf);
  const prompts = draws.length > 0;
  const points = prompts ? promptPoints(draws, config.prompt) : picturePoints(ordered);
  if (points.every(({ before }) => before === undefined)) return null;
  const words = prompts ? promptsInWords(draws, config.prompt) : roundsInWords(ranking);
  const last = Math.max(...ordered.map(({ lineage }) => lineage.round));
  return html`<h2>The search</h2>
    <section class="card">
      ${waysChart({
        points,
        axis: roundAxis(
          last,
          draws.some(({ refinement }) => refinement.phase === "confirm"),
          prompts ? "round; a dot is the mean score of a prompt's pictures so far" : "round",
        ),
        spoken: `${prompts ? "Mean scores of prompts" : "Scores of pictures"} by ${models.reward.name} over the rounds of the search. ${words}`,
        legend: prompts
          ? { best: "the prompt that won, and those it was made from", other: "other prompts" }
          : { best: "best, and what it was made from", kept: "kept", other: "others" },
      })}
    </section>
    <p class="note">${words}</p>`;
}

/** A line in the chart for every picture, from the one it was made from. @param ordered by round, then index */
export function picturePoints(ordered: readonly RankedCandidate[]): WayPoint[] {
  const places = new Map<number, number>();
  const sizes = new Map<number, number>();
  for (const { lineage, score } of ordered)
    if (score !== null) sizes.set(lineage.round, (sizes.get(lineage.round) ?? 0) + 1);
  const placed = new Map<number, number>();
  return ordered.flatMap((one): WayPoint[] => {
    const { index, seed, score, rank, kept, lineage } = one;
    if (score === null) return [];
    const { parent, round } = lineage;
    const position = placed.get(round) ?? 0;
    placed.set(round, position + 1);
    const before = parent === null ? undefined : places.get(parent);
    places.set(index, places.size);
    const from = parent === null ? "" : `\nmade from candidate ${parent}`;
    return [
      {
        x: spread(round, position, sizes.get(round)!),
        y: score,
        before,
        line: String(index),
        end: rank === 1 ? "best" : kept ? "kept" : "other",
        title: `rank ${rank}: ${format(score)} (candidate ${index}, seed ${seed})${from}\n${one.prompt}`,
      },
    ];
  });
}

/** The mean score of every prompt after every round in which it was drawn, from that of the prompt it was made from. @param draws by round, then index */
export function promptPoints(draws: readonly RoundDraw[], original: string): WayPoint[] {
  const { winner } = conclude(draws, original);
  const rounds = new Map<number, Map<string, RoundDraw[]>>();
  for (const draw of draws) {
    const round = rounds.get(draw.round) ?? new Map<string, RoundDraw[]>();
    rounds.set(draw.round, round.set(draw.prompt, [...(round.get(draw.prompt) ?? []), draw]));
  }
  const points: WayPoint[] = [];
  const last = new Map<string, number>();
  const scores = new Map<string, number[]>();
  for (const [round, own] of rounds) {
    const before = new Map(last);
    for (const [position, [prompt, drawn]] of [...own].entries()) {
      const { from, edit, phase } = drawn[0]!.refinement;
      const fresh = drawn.flatMap(({ score }) => score ?? []);
      // what confirms is drawn anew, so it is not averaged with what the prompt was chosen by
      const all = phase === "confirm" ? fresh : [...(scores.get(prompt) ?? []), ...fresh];
      scores.set(prompt, all);
      if (all.length === 0) continue;
      const said = edit === null ? "" : `\n${edit}`;
      const place = points.push({
        x: spread(round, position, own.size),
        y: mean(all),
        before: before.get(prompt) ?? (from === null ? undefined : (before.get(from) ?? last.get(from))),
        line: `${round}/${prompt}`,
        end: prompt === winner ? "best" : "other",
        title: `${prompt}${said}\nmean ${format(mean(all))} of ${all.length} ${phase === "confirm" ? "fresh " : ""}pictures`,
      });
      last.set(prompt, place - 1);
    }
  }
  return points.map((point, place) => ({ ...point, end: endOf(point, place === last.get(winner)) }));
}

/** Only the last of the winner's points is that of the best. */
function endOf({ end }: WayPoint, winning: boolean): Tone | undefined {
  return end === "best" && !winning ? "other" : end;
}

/** The draws of a candidate of a search for prompts; none for another. */
function drawOf({ index, seed, prompt, score, lineage }: RankedCandidate): RoundDraw[] {
  const { refinement, round } = lineage;
  return refinement === undefined ? [] : [{ index, seed, prompt, score, round, refinement }];
}

/** Where a picture stands within its round: side by side in the order they were drawn in. */
function spread(round: number, position: number, size: number): number {
  return round + (size === 1 ? 0 : SPREAD * (position / (size - 1) - 0.5));
}

function roundAxis(last: number, confirms: boolean, title: string) {
  const ticks = niceScale(0, Math.max(1, last), 12).ticks.filter((tick) => Number.isInteger(tick) && tick >= 0 && tick <= last); // prettier-ignore
  const label = (round: number): string => (confirms && round === last ? "fresh seeds" : String(round));
  return { low: -0.5, high: last + 0.5, ticks: ticks.map((x) => ({ x, label: label(x) })), title };
}

/** What the rounds of a search brought. @param ranking best first */
export function roundsInWords(ranking: readonly RankedCandidate[]): string {
  const best = ranking[0];
  const top = (lines: readonly RankedCandidate[]): number => Math.max(...lines.flatMap(({ score }) => score ?? []));
  const first = ranking.filter(({ lineage }) => lineage.round === 0);
  const later = ranking.filter(({ lineage }) => lineage.round > 0);
  const rounds = new Set(later.map(({ lineage }) => lineage.round)).size;
  const beginning = `${pictures(first.length)} from seeds, the best at ${format(top(first))}`;
  const then = `then ${pictures(later.length)} in ${rounds} ${rounds === 1 ? "round" : "rounds"}, the best at ${format(top(later))}`;
  if (best === undefined || best.lineage.round === 0)
    return `${beginning}, ${then}: none was better than what it began from.`;
  const ways = ancestors(best, ranking);
  const by = ways === 1 ? "one other picture" : `${ways} other pictures`;
  return `${beginning}, ${then}. The best picture came in round ${best.lineage.round} by way of ${by}.`;
}

/** How many pictures a candidate was made by way of. */
function ancestors(candidate: RankedCandidate, ranking: readonly RankedCandidate[]): number {
  const byIndex = new Map(ranking.map((one) => [one.index, one]));
  const seen = new Set<number>();
  for (let { parent } = candidate.lineage; parent !== null && !seen.has(parent);) {
    seen.add(parent);
    parent = byIndex.get(parent)?.lineage.parent ?? null;
  }
  return seen.size;
}

function promptsInWords(draws: readonly Draw[], original: string): string {
  const prompts = new Set(draws.map(({ prompt }) => prompt)).size;
  return `${prompts} prompts were drawn, ${pictures(draws.length)} in all: ${verdict(conclude(draws, original))}.`;
}

function pictures(count: number): string {
  return count === 1 ? "1 picture" : `${count} pictures`;
}
