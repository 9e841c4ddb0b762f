/** @file A search inside trajectories on the page of its run: the ways of its candidates, what it did in a sentence, what previews were worth. */

import type { RankedCandidate } from "../pipeline/ranked.js";
import type { RunManifest } from "../pipeline/manifest.js";
import type { SearchEvent, SearchPlan } from "../strategies/contract.js";
import { format } from "./distribution.js";
import { type Html, html } from "./html.js";
import { niceScale } from "./scale.js";
import { type WayPoint, waysChart } from "./ways.js";

/** The section; null for a run whose strategy did not look into trajectories. */
export function searchSection(
  { config, stop, models }: RunManifest,
  ranking: readonly RankedCandidate[],
  events: readonly SearchEvent[],
): Html | null {
  const plan = events.find((event) => event.type === "plan");
  if (events.length === 0) return null;
  const steps = plan?.steps ?? 1 + Math.max(0, ...events.map((event) => (event.type === "look" ? event.step : 0)));
  const points = searchPoints(events, ranking, steps);
  const plain = stop === null ? config.count : undefined;
  const copies = events.some(({ type }) => type === "parted");
  return html`<h2>The search</h2>
    ${
      points.some(({ before }) => before !== undefined)
        ? html`<section class="card">
            ${waysChart({
              points,
              axis: stepAxis(points, steps),
              marks: cutMarks(events),
              spoken: `Scores by ${models.reward.name} of previews and pictures over the steps of the sampler. ${searchInWords(events, ranking, plain)}`,
              legend: {
                best: "best",
                kept: "kept",
                other: "other pictures",
                dropped: copies ? "resampled away" : "dropped on the way",
              },
            })}
          </section>`
        : null
    }
    <p class="note">${searchInWords(events, ranking, plain)}</p>
    ${previewTable(plan, steps)}`;
}

/**
 * The points of a search's ways: a look each, and the picture at the last step. Places that go on as copies branch off from where they parted.
 * @param ranking best first
 */
export function searchPoints(
  events: readonly SearchEvent[],
  ranking: readonly RankedCandidate[],
  steps: number,
): WayPoint[] {
  const points: WayPoint[] = [];
  /** Of each place, the last point of its way. */
  const last = new Map<number, number>();
  /** Of each place, how many times it went on as a copy. */
  const copies = new Map<number, number>();
  const lineOf = (index: number): string => `${index}/${copies.get(index) ?? 0}`;
  const add = (index: number, point: Omit<WayPoint, "before" | "line">): void => {
    last.set(index, points.push({ ...point, before: last.get(index), line: lineOf(index) }) - 1);
  };
  for (const event of events) {
    const { type } = event;
    if (type === "look" && event.score !== null) add(event.index, { x: event.step, y: event.score });
    else if (type === "parted") {
      copies.set(event.index, (copies.get(event.index) ?? 0) + 1);
      const source = last.get(event.from);
      if (source === undefined) last.delete(event.index);
      else last.set(event.index, source);
    } else if (type === "pruned") {
      const place = last.get(event.index);
      // a preview without a score has no point
      if (place === undefined || points[place]!.x !== event.step) continue;
      points[place] = { ...points[place]!, end: "dropped", title: `candidate ${event.index}: ${event.reason}` };
    }
  }
  for (const line of ranking) {
    if (line.score === null) continue;
    const end = line.rank === 1 ? "best" : line.kept ? "kept" : "other";
    add(line.index, { x: steps, y: line.score, end, title: titleOf(line) });
  }
  return points;
}

function titleOf({ rank, score, index, seed, lineage: { origin, path = [] } }: RankedCandidate): string {
  const parted = path.map(({ step, from }) => `parted from particle ${from} after step ${step}`);
  const ways = path.length === 0 ? [] : [`began from seed ${origin}`, ...parted];
  return [`rank ${rank}: ${score === null ? "no score" : format(score)} (candidate ${index}, seed ${seed})`, ...ways].join("\n"); // prettier-ignore
}

/** From a little before the first look to the end. */
function stepAxis(points: readonly WayPoint[], steps: number) {
  const first = points.reduce((least, { x }) => Math.min(least, x), steps);
  const low = Math.max(0, first - 0.04 * steps);
  const ticks = niceScale(low, steps, 10).ticks.filter((tick) => Number.isInteger(tick) && tick >= low && tick < steps - 0.03 * steps); // prettier-ignore
  return {
    low,
    high: steps,
    ticks: [...ticks, steps].map((x) => ({ x, label: String(x) })),
    title: "steps of the sampler",
  };
}

/** What happened after each step at which something did, in its order. */
function changes(events: readonly SearchEvent[]): { readonly step: number; readonly count: number }[] {
  const byStep = new Map<number, number>();
  for (const event of events) if (event.type === "pruned") byStep.set(event.step, (byStep.get(event.step) ?? 0) + 1);
  return [...byStep].map(([step, count]) => ({ step, count })).sort((a, b) => a.step - b.step);
}

function cutMarks(events: readonly SearchEvent[]): { readonly x: number; readonly label: string }[] {
  const verb = events.some(({ type }) => type === "parted") ? "replaced" : "dropped";
  return changes(events).map(({ step, count }) => ({ x: step, label: `${count} ${verb}` }));
}

/**
 * What a search did, in numbers.
 * @param plain the pictures whose compute it was to spend; undefined where something else ended it
 */
export function searchInWords(
  events: readonly SearchEvent[],
  ranking: readonly RankedCandidate[],
  plain: number | undefined,
): string {
  const looks = events.filter(({ type }) => type === "look").length;
  const begun = new Set([...ranking, ...events.flatMap((event) => (event.type === "look" ? event : []))].map(({ index }) => index)).size; // prettier-ignore
  const compute = plain === undefined ? "" : ` with the compute of ${counted(plain, "plain picture")}`;
  const found = changes(events);
  const cuts = found.map(({ step, count }) => `${count} after step ${step}`);
  if (events.some((event) => event.type === "plan" && event.previews === undefined)) {
    const origins = new Set(ranking.map(({ lineage, seed }) => lineage.origin ?? seed)).size;
    const all = found.reduce((sum, { count }) => sum + count, 0);
    const replaced = all === 0 ? "none was replaced, for the rewards of their previews were much alike" : `${listed(cuts)} were replaced by copies of others`; // prettier-ignore
    return `${counted(begun, "particle")} went through the sampler${compute}, ${counted(looks, "look")} on the way included; ${replaced}. The ${counted(ranking.length, "picture")} go back to ${origins} of the ${counted(begun, "seed")}.`;
  }
  const more = plain !== undefined && begun > plain ? `, ${begun - plain} more than best-of-n draws` : "";
  const beginning = `${counted(begun, "picture")} ${begun === 1 ? "was" : "were"} begun${compute}${more}`;
  if (cuts.length === 0)
    return `${beginning}, ${counted(looks, "look")} on the way included; none was dropped, for too little was to be gained by it.`;
  return `${beginning}; ${listed(cuts)} were dropped by their previews, ${ranking.length} finished.`;
}

/** How well previews told the end, and what was made of it; null for a search that did not measure it. */
function previewTable(plan: SearchPlan | undefined, steps: number): Html | null {
  if (plan?.previews === undefined || plan.previews.fidelity.length === 0) return null;
  const { observed, fidelity } = plan.previews;
  const done = (step: number): string => {
    const cut = plan.cuts.find((one) => one.step === step);
    return cut === undefined ? "" : `the better ${Math.round(100 * cut.keep)} % go on`;
  };
  return html`<details class="note" open>
    <summary>
      What previews are worth, measured on ${counted(observed, "picture")} drawn to the
      end${plan.cuts.length === 0 ? ": too little to drop pictures by them" : ""}
    </summary>
    <div class="scroll">
      <table class="sweep">
        <thead>
          <tr>
            <th>after step</th>
            <th>rank correlation with the final score</th>
            <th>what the best preview lacks to the best picture</th>
            ${plan.cuts.length === 0 ? null : html`<th>schedule</th>`}
          </tr>
        </thead>
        <tbody>
          ${fidelity.map(
            ({ step, rankCorrelation, regret }) =>
              html`<tr>
                <td>${step} of ${steps}</td>
                <td>${rankCorrelation.toFixed(2)}</td>
                <td>${format(regret)}</td>
                ${plan.cuts.length === 0 ? null : html`<td>${done(step)}</td>`}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

/** `1 picture`, `2 pictures`. */
function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** `a`, `a and b`, `a, b and c`. */
function listed(parts: readonly string[]): string {
  return parts.length < 2 ? (parts[0] ?? "") : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}
