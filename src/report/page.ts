/** @file report.html: one self-contained page about a run. Images are embedded, nothing is fetched. */

import { type RankedCandidate, rankedCandidates } from "../pipeline/ranked.js";
import type { RunSnapshot } from "../pipeline/run-store.js";
import { mean } from "../util/statistics.js";
import { distributionChart, format } from "./distribution.js";
import { Html, html } from "./html.js";
import { STYLE } from "./style.js";

/** A picture as the page embeds it. */
export interface EmbeddedImage {
  /** A `data:` URI. */
  readonly uri: string;
  /** Pixels of the candidate itself. */
  readonly width: number;
  readonly height: number;
}

/** The pictures the run started from; undefined for one that there is none of. */
export interface EmbeddedInputs {
  readonly init: EmbeddedImage | undefined;
  readonly mask: EmbeddedImage | undefined;
}

/** Two sprigs of laurel. */
const LEAF = new Html(
  `<svg viewBox="0 0 24 24" fill="currentColor" aria-hidden="true">${[0, 1]
    .map(
      (side) =>
        `<g${side === 1 ? ' transform="matrix(-1 0 0 1 24 0)"' : ""}><path d="M11 21.5C5.5 20.5 2.5 16 3.5 9.5" fill="none" stroke="currentColor" stroke-width="1.3" stroke-linecap="round"/>` +
        [
          [3.6, 6, 8],
          [7, 9.6, 52],
          [1.6, 12.6, -38],
          [8, 14.4, 66],
          [3.6, 17.6, -62],
          [10.2, 18, 84],
        ]
          .map(
            ([x = 0, y = 0, turn = 0]) =>
              `<ellipse cx="${x}" cy="${y}" rx="1.35" ry="2.9" transform="rotate(${turn} ${x} ${y})"/>`,
          )
          .join("") +
        "</g>",
    )
    .join("")}</svg>`,
);

/** The page, from the run and the embedded images of its best candidates (by index). Candidates without an image are only counted. */
export function reportPage(
  run: RunSnapshot,
  images: ReadonlyMap<number, EmbeddedImage>,
  inputs: EmbeddedInputs,
): string {
  const { manifest } = run;
  const ranking = rankedCandidates(run);
  const best = ranking[0];
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        />
        <title>${shorten(manifest.config.prompt, 80)} · Laurel</title>
        <style>
          ${new Html(STYLE)}
        </style>
      </head>
      <body>
        <main>
          <div class="brand">
            ${LEAF}<span><strong>Laurel</strong> · ${manifest.runId}</span
            ><span class="status">${statusText(run)}</span>
          </div>
          ${hero(run, ranking, best === undefined ? undefined : images.get(best.index))} ${warnings(manifest.warnings)}
          ${startedFrom(inputs)} ${distribution(ranking)} ${grid(ranking, images)} ${tables(run)}
          <footer>Make the same images again: <code>laurel rerun ${manifest.runId}/run.json</code></footer>
        </main>
      </body>
    </html> `;
  return `${page.markup.trim()}\n`;
}

function hero(run: RunSnapshot, ranking: readonly RankedCandidate[], image: EmbeddedImage | undefined): Html {
  const { config, models } = run.manifest;
  const scores = ranking.flatMap((line) => line.score ?? []);
  const top = scores[0];
  const best = ranking[0];
  const facts: [string, string][] =
    top === undefined || best === undefined
      ? []
      : [
          [`best ${models.reward.name}`, format(top)],
          ["average", format(mean(scores))],
          ["gain by choosing", signed(top - mean(scores))],
          ["candidates", String(ranking.length)],
        ];
  return html`<header class="hero">
    ${image === undefined ? null : html`<img src="${image.uri}" class="${crisp(image)}" alt="Best candidate, seed ${best?.seed}" />`}
    <div>
      <h1${new Html(config.prompt.length > 160 ? ' class="long"' : "")}>${config.prompt}</h1>
      ${config.negativePrompt === null ? null : html`<p class="negative">without: ${config.negativePrompt}</p>`}
      <dl class="facts">
        ${facts.map(([name, value], i) => html`<div${new Html(i === 0 ? ' class="first"' : "")}><dt>${name}</dt><dd>${value}</dd></div>`)}
      </dl>
    </div>
  </header>`;
}

function warnings(messages: readonly string[]): Html | null {
  if (messages.length === 0) return null;
  return html`<section class="card warnings">
    <strong>${messages.length === 1 ? "Warning" : `${messages.length} warnings`}</strong>
    <ul>
      ${messages.map((message) => html`<li>${message}</li>`)}
    </ul>
  </section>`;
}

function startedFrom({ init, mask }: EmbeddedInputs): Html | null {
  if (init === undefined) return null;
  const figure = (image: EmbeddedImage, caption: string): Html =>
    html`<figure>
      <img src="${image.uri}" class="${crisp(image)}" alt="${caption}" />
      <figcaption><b>${caption}</b><span>${image.width} × ${image.height}</span></figcaption>
    </figure>`;
  return html`<h2>Started from</h2>
    <div class="grid">${figure(init, "picture")} ${mask === undefined ? null : figure(mask, "mask")}</div>
    ${mask === undefined ? null : html`<p class="note">White parts of the mask are repainted.</p>`}`;
}

function distribution(ranking: readonly RankedCandidate[]): Html | null {
  const points = ranking.flatMap((line) =>
    line.score === null
      ? []
      : [
          {
            score: line.score,
            kept: line.kept,
            best: line.rank === 1,
            label: `#${line.rank}: ${format(line.score)} (seed ${line.seed})`,
          },
        ],
  );
  if (points.length < 2) return null;
  return html`<h2>Scores</h2>
    <section class="card">${distributionChart(points)}</section>`;
}

/** What is known of where a candidate comes from, for the pointer that rests on it. */
function originOf({ seed, reportedSeed, revisedPrompt, source }: RankedCandidate): string {
  return [
    `seed ${seed}`,
    ...(reportedSeed === null || reportedSeed === seed ? [] : [`the server reported seed ${reportedSeed}`]),
    ...(revisedPrompt === null ? [] : [`drawn from: ${revisedPrompt}`]),
    ...(source === null ? [] : [source]),
  ].join("\n");
}

function grid(ranking: readonly RankedCandidate[], images: ReadonlyMap<number, EmbeddedImage>): Html | null {
  if (ranking.length === 0) return null;
  const figures = ranking.flatMap((line) => {
    const image = images.get(line.index);
    if (image === undefined) return [];
    const name = !line.kept ? "" : line.rank === 1 ? "best" : "kept";
    return [
      html`<figure class="${name}">
        <img
          src="${image.uri}"
          class="${crisp(image)}"
          width="${image.width}"
          height="${image.height}"
          loading="lazy"
          alt="Rank ${line.rank}, seed ${line.seed}"
          style="height:auto"
        />
        <span class="rank">${line.rank}</span>
        <figcaption>
          <b>${line.score === null ? "no score" : format(line.score)}</b
          ><span title="${originOf(line)}">seed ${line.seed}</span>
        </figcaption>
      </figure>`,
    ];
  });
  const left = ranking.length - figures.length;
  return html`<h2>Candidates, best first</h2>
    <div class="grid">${figures}</div>
    ${left > 0 ? html`<p class="note">${left} lower-ranked candidates are not shown; all are in the folder <code>images</code>.</p>` : null}`;
}

function tables(run: RunSnapshot): Html {
  const { config, embeddings, models, versions, timings, seeds, evaluations, createdAt } = run.manifest;
  const size = config.width === null || config.height === null ? null : `${config.width} × ${config.height} pixels`;
  return html`<h2>Settings</h2>
    <div class="tables">
      ${table("Request", [
        ["Strategy", config.strategy],
        ["Candidates", `${config.count}, best ${Math.min(config.keep, config.count)} kept`],
        ["Seeds", seeds.first === seeds.last ? String(seeds.first) : `${seeds.first} to ${seeds.last}`],
        ["Sampler", config.sampler],
        ["Steps", config.steps],
        ["Guidance", config.guidance],
        ["Strength", config.strength],
        ["Prompt syntax", config.promptSyntax === "plain" ? null : config.promptSyntax],
        ["Read by the reward", config.rewardPrompt],
        ["Clip skip", config.clipSkip],
        ["Embeddings", embeddings.length === 0 ? null : embeddings.map(({ path }) => path).join(", ")],
        ["Size", size],
        ["Batch", config.batch],
      ])}
      ${table("Models", [
        ["Backend", models.backend.name],
        ["Generator", models.backend.model],
        ["Generator's digest", models.backend.digest?.slice(0, 16)],
        [
          "Reward",
          models.reward.model === models.reward.name
            ? models.reward.name
            : `${models.reward.name} (${models.reward.model})`,
        ],
        ["Reward's digest", models.reward.digest?.slice(0, 16)],
      ])}
      ${table("Run", [
        ["Started", createdAt.replace("T", " ").replace(/:\d+\.\d+Z$/, " UTC")],
        ["Time", seconds(timings.totalMs)],
        ["Loading", seconds(timings.loadMs)],
        ["Generating", seconds(timings.generateMs)],
        ["Scoring", seconds(timings.scoreMs)],
        ["Evaluations", evaluations > 0 ? evaluations : null],
        ["Laurel", versions.laurel],
        ["ONNX Runtime", versions.onnxruntime],
        ["Node", `${versions.node} on ${versions.platform}`],
      ])}
    </div>`;
}

function table(caption: string, rows: readonly (readonly [string, string | number | null | undefined])[]): Html {
  return html`<div class="card">
    <table>
      <caption>
        ${caption}
      </caption>
      ${rows.map(([name, value]) =>
        value === null || value === undefined
          ? null
          : html`<tr>
              <th scope="row">${name}</th>
              <td>${value}</td>
            </tr>`,
      )}
    </table>
  </div>`;
}

function statusText(run: RunSnapshot): string {
  const { status, config } = run.manifest;
  return status === "complete" ? "complete" : `${status}, ${run.candidates.length} of ${config.count}`;
}

/** Small pictures are enlarged with hard pixel edges. */
function crisp(image: EmbeddedImage): string {
  return image.width <= 128 ? "small" : "";
}

function signed(value: number): string {
  return value < 0 ? `−${format(-value)}` : `+${format(value)}`;
}

function seconds(milliseconds: number): string {
  return milliseconds < 100 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
