/** @file report.html of a pipeline's run: what was selected for every item, how the cells of the matrix compare, what failed. */

import type { ReferenceScores } from "../evaluation/explain.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import type { ItemLine, PipelineManifest, PlacedCandidate } from "../pipeline/execute/manifest.js";
import { format } from "./distribution.js";
import { Html, html } from "./html.js";
import { bestInWords } from "./meaning.js";
import { crisp, documentPage, factList, seconds, shownTime, table, warnings } from "./parts.js";

/** How the scores of a cell of the matrix came out. */
export interface CellScores {
  readonly cell: ItemLine["cell"];
  readonly items: number;
  readonly candidates: number;
  /** Over all its candidates with a score; null without any. */
  readonly mean: number | null;
  /** Mean over its items of their best. */
  readonly meanBest: number | null;
  readonly best: number | null;
}

/** What the page shows of a run. */
export interface PipelinePageContent {
  readonly manifest: PipelineManifest;
  readonly plan: PipelinePlan;
  /** The first finished items, in their order. */
  readonly items: readonly ItemLine[];
  /** The first that failed. */
  readonly failed: readonly ItemLine[];
  /** The item with the highest score. */
  readonly best: ItemLine | undefined;
  /** Mean over the finished items of their best. */
  readonly meanBest: number | null;
  /** Empty without a matrix. */
  readonly cells: readonly CellScores[];
  /** Cells that there are. */
  readonly cellCount: number;
  /** Pixels of its best picture, for how all are enlarged. */
  readonly width: number;
  /** What its scores are compared with. */
  readonly reference?: ReferenceScores | undefined;
}

/** Selected pictures that are shown of an item. */
const MOST_SELECTED = 8;

/** The page. Its pictures are those of the run's folder, by relative paths: it grows by a few hundred bytes for each. */
export function pipelinePage(content: PipelinePageContent): string {
  const { manifest, plan } = content;
  return documentPage(
    { title: manifest.name, runId: manifest.runId, status: statusText(manifest), pictures: "'self' file: data:" },
    html`${hero(content)} ${warnings(manifest.warnings)} ${failures(content)} ${sweep(content)} ${items(content)}
    ${settings(manifest, plan)}`,
  );
}

function hero({ manifest, plan, best, meanBest, width, reference }: PipelinePageContent): Html {
  const { items: counts, candidates, models } = manifest;
  const top = best?.best ?? null;
  const facts: [string, string][] = [
    ...scoreFact(`best ${models.reward.name}`, top?.score),
    ...scoreFact("average best of an item", meanBest),
    ["items", counts.finished === counts.total ? String(counts.total) : `${counts.finished} of ${counts.total}`],
    ["candidates", String(candidates)],
  ];
  return html`<header class="hero">
    ${top === null ? null : picture(top, width, `Best candidate, seed ${top.seed}`)}
    <div>
      <h1>${manifest.name}</h1>
      <p class="negative">${plan.document.description ?? best?.prompt}</p>
      ${factList(facts)} ${bestInWords(top?.score, reference)}
    </div>
  </header>`;
}

/** A score with its name; nothing where there is none. */
function scoreFact(name: string, score: number | null | undefined): [string, string][] {
  return score === null || score === undefined ? [] : [[name, format(score)]];
}

function failures({ failed, manifest }: PipelinePageContent): Html | null {
  if (failed.length === 0) return null;
  const left = manifest.items.failed - failed.length;
  return html`<section class="card warnings">
    <strong>${manifest.items.failed} items failed</strong>
    <ul>
      ${failed.map(({ id, error }) => html`<li><b>${id}</b>: ${error}</li>`)}
    </ul>
    ${left > 0 ? html`<p>and ${left} more in <code>items.jsonl</code></p>` : null}
  </section>`;
}

function sweep({ cells, cellCount }: PipelinePageContent): Html | null {
  if (cells.length === 0) return null;
  const names = Object.keys(cells[0]?.cell ?? {});
  const highest = Math.max(...cells.map(({ meanBest }) => meanBest ?? -Infinity));
  const score = (value: number | null): string => (value === null ? "" : format(value));
  return html`<h2>Settings compared</h2>
    <div class="card scroll">
      <table class="sweep">
        <tr>
          ${names.map((name) => html`<th scope="col">${name}</th>`)}
          ${["items", "candidates", "mean", "mean of the best", "best"].map((name) => html`<th scope="col">${name}</th>`)}
        </tr>
        ${cells.map(
          (one) =>
            html`<tr${new Html(one.meanBest === highest ? ' class="first"' : "")}>${names.map((name) => html`<td>${shownValue(one.cell[name])}</td>`)}<td>${one.items}</td><td>${one.candidates}</td><td>${score(one.mean)}</td><td>${score(one.meanBest)}</td><td>${score(one.best)}</td></tr>`,
        )}
      </table>
    </div>
    ${cellCount > cells.length ? html`<p class="note">The ${cells.length} best of ${cellCount} cells.</p>` : null}`;
}

function items({ items: shown, manifest, width }: PipelinePageContent): Html | null {
  if (shown.length === 0) return null;
  const left = manifest.items.finished - shown.length;
  return html`<h2>Items</h2>
    ${shown.map((line) => item(line, width))}
    ${left > 0 ? html`<p class="note">${left} more items are not shown; all are in <code>items.jsonl</code>.</p>` : null}`;
}

function item({ id, prompt, drawn, cell, candidates, best, selected }: ItemLine, width: number): Html {
  const facts = [
    ...Object.entries(cell).map(([name, value]) => `${name} ${shownValue(value)}`),
    `${candidates} candidates`,
    ...scoreFact("best", best?.score).map((fact) => fact.join(" ")),
    ...(drawn === prompt ? [] : [`scored against: ${prompt}`]),
    ...(selected.length > MOST_SELECTED ? [`${MOST_SELECTED} of ${selected.length} selected`] : []),
    ...(selected.length === 0 ? ["nothing selected"] : []),
  ];
  return html`<section class="item">
    <h3><span class="id">${id}</span> ${drawn}</h3>
    <p class="note">${facts.join(" · ")}</p>
    <div class="grid">
      ${selected.slice(0, MOST_SELECTED).map(
        (one, i) =>
          html`<figure>
            ${picture(one, width, `Rank ${i + 1}, seed ${one.seed}`)}
            <span class="rank">${i + 1}</span>
            <figcaption>
              <b>${one.score === null ? "no score" : format(one.score)}</b
              ><span title="seed ${one.seed}">seed ${one.seed}</span>
            </figcaption>
          </figure>`,
      )}
    </div>
  </section>`;
}

/** Every candidate's path has only letters, digits, `/`, `-` and `.`, see candidateImagePath. */
function picture({ image }: PlacedCandidate, width: number, alt: string): Html {
  return html`<img src="${image}" class="${crisp({ width })}" loading="lazy" alt="${alt}" />`;
}

function settings(manifest: PipelineManifest, { steps, seeds, items: planned }: PipelinePlan): Html {
  const { models, versions, seed, createdAt, totalMs, evaluations, sessions } = manifest;
  return html`<h2>Settings</h2>
    <div class="tables">
      ${table("Pipeline", [
        ["Steps", steps.map(({ kind }) => kind).join(" → ")],
        ["Items", planned.length],
        ["First seed", seed],
        ["Seeds", seeds === "shared" ? "the same for every item" : "others for every item"],
      ])}
      ${table("Models", [
        ["Backend", models.backend.name],
        ["Generator", models.backend.model],
        ["Generator's digest", models.backend.digest?.slice(0, 16)],
        ["Reward", models.reward.name],
        ["Reward's digest", models.reward.digest?.slice(0, 16)],
      ])}
      ${table("Run", [
        ["Started", shownTime(createdAt)],
        ["Sessions", sessions],
        ["Time", seconds(totalMs)],
        ["Evaluations", evaluations > 0 ? evaluations : null],
        ["Laurel", versions.laurel],
        ["ONNX Runtime", versions.onnxruntime],
        ["Node", `${versions.node} on ${versions.platform}`],
      ])}
    </div>`;
}

function statusText({ status, items: { finished, total } }: PipelineManifest): string {
  return status === "complete" ? "complete" : `${status}, ${finished} of ${total}`;
}

function shownValue(value: string | number | boolean | undefined): string {
  return value === "" ? "(empty)" : String(value ?? "");
}
