/** @file report.html: one self-contained page about a run. Images are embedded, nothing is fetched. */

import type { ReferenceScores } from "../evaluation/explain.js";
import { limitsOf, type RunConfig } from "../pipeline/manifest.js";
import { type RankedCandidate, rankedCandidates } from "../pipeline/ranked.js";
import type { RunSnapshot } from "../pipeline/run-store.js";
import { limitsInWords, stopInWords } from "../strategies/budget.js";
import { printStrategy } from "../strategies/settings.js";
import type { SearchEvent } from "../strategies/contract.js";
import { mean } from "../util/statistics.js";
import { distributionChart, format } from "./distribution.js";
import type { EmbeddedImage } from "./embed.js";
import { Html, html } from "./html.js";
import { judges } from "./judges.js";
import { bestInWords, keptByThreshold } from "./meaning.js";
import { roundsSection } from "./rounds-section.js";
import { searchSection } from "./search-section.js";
import { WAYS_STYLE } from "./ways.js";
import { crisp, documentPage, factList, picture, seconds, shownTime, table, warnings } from "./parts.js";

/** The pictures the run started from; undefined for one that there is none of. */
export interface EmbeddedInputs {
  readonly init: EmbeddedImage | undefined;
  readonly mask: EmbeddedImage | undefined;
}

/**
 * The page, from the run and the embedded images of its best candidates (by index). Candidates without an image are only counted. `reference` is what the
 * scores are compared with, `search` what a search inside trajectories did; empty for other strategies.
 */
export function reportPage(
  run: RunSnapshot,
  images: ReadonlyMap<number, EmbeddedImage>,
  inputs: EmbeddedInputs,
  reference: ReferenceScores | undefined,
  search: readonly SearchEvent[],
): string {
  const { manifest } = run;
  const ranking = rankedCandidates(run);
  const best = ranking[0];
  const { runId, warnings: messages, config } = manifest;
  const first = best === undefined ? undefined : images.get(best.index);
  return documentPage(
    { title: config.prompt, runId, status: statusText(run), pictures: "data:", style: WAYS_STYLE },
    html`${hero(run, ranking, first)} ${warnings(messages)} ${startedFrom(inputs)} ${distribution(ranking, reference)}
    ${searchSection(manifest, ranking, search)} ${roundsSection(manifest, ranking)} ${judges(manifest, ranking)}
    ${grid(ranking, images)} ${tables(run)}`,
  );
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
      ${factList(facts)}
    </div>
  </header>`;
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

function distribution(ranking: readonly RankedCandidate[], reference: ReferenceScores | undefined): Html | null {
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
  const scores = points.map(({ score }) => score);
  return html`<h2>Scores</h2>
    <section class="card">${distributionChart(points)}</section>
    ${bestInWords(ranking[0]?.score, reference)} ${keptByThreshold(scores, reference)}`;
}

/** What is known of where a candidate comes from, for the pointer that rests on it. */
function originOf({ seed, reportedSeed, revisedPrompt, source, lineage }: RankedCandidate): string {
  return [
    `seed ${seed}`,
    ...(reportedSeed === null || reportedSeed === seed ? [] : [`the server reported seed ${reportedSeed}`]),
    ...bornOf(lineage),
    ...(revisedPrompt === null ? [] : [`drawn from: ${revisedPrompt}`]),
    ...(source === null ? [] : [source]),
  ].join("\n");
}

/** What a candidate was made from, where it was made from anything but its seed. */
function bornOf({ parent, refinement, origin, path = [] }: RankedCandidate["lineage"]): string[] {
  return [
    ...(parent === null ? [] : [`made from candidate ${parent}`]),
    ...path.map(({ step, from }) => `parted from particle ${from} after step ${step}`),
    ...(path.length === 0 ? [] : [`began from seed ${origin}`]),
    ...(refinement === undefined || refinement.edit === null ? [] : [`${refinement.edit}, from: ${refinement.from}`]),
  ];
}

function grid(ranking: readonly RankedCandidate[], images: ReadonlyMap<number, EmbeddedImage>): Html | null {
  if (ranking.length === 0) return null;
  const figures = ranking.flatMap((line) => {
    const image = images.get(line.index);
    if (image === undefined) return [];
    const name = !line.kept ? "" : line.rank === 1 ? "best" : "kept";
    return [
      html`<figure class="${name}">
        ${picture(image, `Rank ${line.rank}, seed ${line.seed}`)}
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
        ["Strategy", printStrategy(config.strategy)],
        ["Budget", limitsInWords(limitsOf(config))],
        [
          "Candidates",
          `${mostOf(config)}, ${config.diverse ? `${config.keep} good ones that differ` : `best ${Math.min(config.keep, config.count)}`} kept`,
        ],
        ["Seeds", seeds.first === seeds.last ? String(seeds.first) : `${seeds.first} to ${seeds.last}`],
        ["Sampler", config.sampler],
        ["Steps", config.steps],
        ["Guidance", config.guidance],
        ["Strength", config.strength],
        ["Prompt syntax", config.promptSyntax === "plain" ? null : config.promptSyntax],
        ["Read by the reward", config.rewardPrompt],
        ["Clip skip", config.clipSkip],
        ["Embeddings", embeddings.length === 0 ? null : embeddings.map(({ path }) => path).join(", ")],
        [
          "LoRAs",
          config.loras.length === 0 ? null : config.loras.map(({ path, scale }) => `${path} at ${scale}`).join(", "),
        ],
        ["LoRAs grow until", config.loraAnneal === null ? null : `${Math.round(config.loraAnneal * 100)} % of the way`],
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
        ["Started", shownTime(createdAt)],
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

function statusText(run: RunSnapshot): string {
  const { status, config, stop } = run.manifest;
  const drawn = `${run.candidates.length} of ${mostOf(config)}`;
  const why = stop === null ? null : stopInWords(stop, limitsOf(config));
  if (why !== null) return `${status}, ${drawn}: ${why}`;
  return status === "complete" ? "complete" : `${status}, ${drawn}`;
}

/** Candidates that were asked for; the most where something else is limited. */
function mostOf(config: RunConfig): string {
  const { evaluations, seconds } = config.budget;
  return `${evaluations === null && seconds === null ? "" : "at most "}${config.count}`;
}

function signed(value: number): string {
  return value < 0 ? `−${format(-value)}` : `+${format(value)}`;
}
