/** @file report.html of a training: what the guards said, before and after, curves, settings. One self-contained page. */

import {
  type GuardSettings,
  type GuardVerdict,
  guardConsequences,
  type KeptCheckpoint,
} from "../training/finetune/guards.js";
import type { GridPlace, TrainingManifest, UpdateRecord, ValidationRecord } from "../training/finetune/records.js";
import { formatDuration } from "../training/progress.js";
import type { EmbeddedImage } from "./embed.js";
import { Html, html } from "./html.js";
import { documentPage, factList, picture, shownTime, table, warnings } from "./parts.js";
import { guardCharts, trainingCharts } from "./training-charts.js";

/** The pictures of one validation, by the index of their place. */
export interface GridColumn {
  readonly step: number;
  readonly images: ReadonlyMap<number, EmbeddedImage>;
}

/** What the page shows of a training. */
export interface TrainingPageContent {
  readonly manifest: TrainingManifest;
  readonly updates: readonly UpdateRecord[];
  /** In order of steps, the base first. */
  readonly validations: readonly ValidationRecord[];
  /** Of every validation after the base's. */
  readonly verdicts: readonly GuardVerdict[];
  readonly guards: GuardSettings;
  readonly kept: KeptCheckpoint;
  readonly places: readonly GridPlace[];
  /** Base, some steps, kept, last. */
  readonly columns: readonly GridColumn[];
  /** The result as commands take it, relative to the folder of runs: a file of low-rank terms, or a folder of a model. */
  readonly result: { readonly kind: "lora" | "model"; readonly path: string } | null;
}

/** The page. */
export function trainingPage(content: TrainingPageContent): string {
  const { manifest } = content;
  const { id, method, status, step, steps } = manifest;
  const title = `${METHODS[method] ?? method}${modelName(manifest.models)}`;
  const shown = status === "finished" ? "finished" : `${status}, ${step} of ${steps}`;
  return documentPage(
    { title, runId: id, status: shown, pictures: "data:" },
    html`${head(content, title)} ${verdictBox(content)} ${warnings(unsaid(content))} ${beforeAfter(content)}
    ${charts(content)} ${validationTable(content)} ${settings(manifest)} ${goingOn(content)}`,
    html`Curves and pictures come from <code>log.jsonl</code>, <code>validation.jsonl</code> and
      <code>validation/</code> beside this page.`,
  );
}

const METHODS: Readonly<Record<string, string>> = { refl: "ReFL", draft: "DRaFT", dpo: "Diffusion-DPO", sft: "Fine-tuning" }; // prettier-ignore

/** ` of NAME`, where the manifest names the model. */
function modelName(models: unknown): string {
  const name = leaves(models).find(([key]) => /^(model|base|generator)\.(name|model)$/.test(key))?.[1];
  return name === undefined ? "" : ` of ${name}`;
}

function head({ manifest, validations, verdicts, kept, updates }: TrainingPageContent, title: string): Html {
  const verdict = verdicts.find(({ step }) => step === kept.step);
  const seconds = updates.at(-1)?.seconds ?? null;
  const base = validations[0];
  const diversity = verdict?.diversity ?? null;
  const changes = [...(verdict?.guide ?? []), ...(verdict?.heldOut ?? [])];
  const facts: [string, string][] = [
    ["kept", kept.step === 0 ? "the base" : `step ${kept.step}`],
    ...changes.map(({ reward, difference }): [string, string] => [`${reward}, against the base`, signed(difference)]),
    ...(diversity === null ? [] : [["diversity, of the base's", percent(diversity.share)] as [string, string]]), // prettier-ignore
    ["updates", manifest.step === manifest.steps ? String(manifest.steps) : `${manifest.step} of ${manifest.steps}`],
    ...(seconds === null ? [] : [["time", formatDuration(seconds)] as [string, string]]),
  ];
  const guide = base === undefined || base.guide.length === 0 ? [] : [`guide: ${base.guide.join(", ")}`];
  const heldOut = base === undefined ? [] : [`held out: ${base.heldOut.length === 0 ? "none" : base.heldOut.join(", ")}`]; // prettier-ignore
  return html`<header>
    <h1>${title}</h1>
    <p class="negative">${[...guide, ...heldOut].join(" · ")}</p>
    ${factList(facts)}
  </header>`;
}

function verdictBox({ manifest, validations, verdicts, guards, kept }: TrainingPageContent): Html {
  const told = validations.flatMap(({ alarm }) => alarm ?? []);
  const judged = verdicts.flatMap(({ alarm }) => alarm?.text ?? []).filter((text) => !told.includes(text));
  const alarms = [...told, ...judged];
  const warned = [...new Set(verdicts.flatMap(({ warnings }) => warnings))].filter((text) => !alarms.includes(text));
  const off = guardConsequences(guards, validations[0]?.heldOut ?? []);
  const stop = manifest.stop === null ? null : html`<p>Stopped at step ${manifest.stop.step}: ${manifest.stop.reason.replace(/\.$/, "")}.</p>`; // prettier-ignore
  const item = (text: string, name: string): Html => html`<li${new Html(name === "" ? "" : ` class="${name}"`)}>${text}</li>`; // prettier-ignore
  return html`<section class="card verdict${alarms.length > 0 ? " alarmed" : ""}">
    <strong
      >${alarms.length > 0 ? "The guards raised an alarm" : verdicts.length > 0 ? "The guards raised no alarm" : "Not validated"}</strong
    >
    <p>Kept${manifest.status === "running" ? " so far" : null}: ${kept.reason}.</p>
    ${stop}
    <ul>
      ${alarms.map((text) => item(text, "alarm"))}${limited(warned, MOST_WARNINGS).map((text) => item(text, ""))}${off.map((text) => item(text, ""))}
    </ul>
  </section>`;
}

const MOST_WARNINGS = 4;

/** The run's warnings that are none of the guards'. */
function unsaid({ manifest, verdicts }: TrainingPageContent): string[] {
  const said = new Set(verdicts.flatMap((one) => [...one.warnings, one.alarm?.text]));
  return manifest.warnings.filter((text) => !said.has(text));
}

function limited(texts: readonly string[], most: number): string[] {
  if (texts.length <= most) return [...texts];
  return [...texts.slice(0, most), `and ${texts.length - most} more warnings`];
}

function beforeAfter({ places, columns, validations, kept }: TrainingPageContent): Html | null {
  const shown = places.filter(({ index }) => columns.some(({ images }) => images.has(index)));
  if (shown.length === 0) return null;
  const reward = validations[0]?.guide[0];
  const score = (step: number, index: number): string | undefined => {
    if (reward === undefined) return undefined;
    const value = validations.find((one) => one.step === step)?.scores[reward]?.[index];
    return value === undefined || Number.isNaN(value) ? undefined : value.toFixed(3);
  };
  const last = columns.at(-1)?.step;
  const name = (step: number): string =>
    [
      step === 0 ? "base" : `step ${step}`,
      ...(step === kept.step ? ["kept"] : step === last && step !== 0 ? ["last"] : []),
    ].join(", ");
  return html`<h2>Before and after</h2>
    <section class="card scroll">
      <div class="pairs" style="grid-template-columns:minmax(130px,320px) repeat(${columns.length},minmax(84px,180px))">
        <b></b>
        ${columns.map(({ step }) => html`<b${new Html(step === kept.step ? ' class="kept"' : "")}>${name(step)}</b>`)}
        ${shown.map(({ index, prompt, seed }) => [
          html`<p>${prompt}<span>seed ${seed}</span></p>`,
          ...columns.map(({ step, images }) => captioned(images.get(index), score(step, index), `${prompt}, ${name(step)}`)), // prettier-ignore
        ])}
      </div>
      <p class="note">
        The same prompts and seeds in every
        column${reward === undefined ? null : html`; the number is the picture's ${reward}`}.
      </p>
    </section>`;
}

function captioned(image: EmbeddedImage | undefined, score: string | undefined, alt: string): Html {
  if (image === undefined) return html`<div class="none">none</div>`;
  return html`<figure>
    ${picture(image, alt)} ${score === undefined ? null : html`<figcaption>${score}</figcaption>`}
  </figure>`;
}

function charts(content: TrainingPageContent): Html {
  const guards = guardCharts(content);
  const training = trainingCharts(content.updates);
  return html`${guards.length === 0 ? null : html`<h2>Rewards and guards</h2><div class="curves">${guards}</div>`}
    ${training.length === 0 ? null : html`<h2>Updates</h2><div class="curves">${training}</div>`}`; // prettier-ignore
}

/** Rows of the table of validations; the first and the last are shown when there are more. */
const MOST_ROWS = 60;

function validationTable({ verdicts, kept }: TrainingPageContent): Html | null {
  const first = verdicts[0];
  if (first === undefined) return null;
  const rewards = [...first.guide, ...first.heldOut].map(({ reward }) => reward);
  const shown = verdicts.filter((_, i) => verdicts.length <= MOST_ROWS || i < MOST_ROWS / 2 || i >= verdicts.length - MOST_ROWS / 2); // prettier-ignore
  const left = verdicts.length - shown.length;
  return html`<h2>Validations</h2>
    <div class="card scroll">
      <table class="sweep">
        <tr>
          <th scope="col">step</th>
          ${rewards.map((reward) => html`<th scope="col">${reward}</th>`)}
          ${["diversity", "divergence", "guards"].map((name) => html`<th scope="col">${name}</th>`)}
        </tr>
        ${shown.map(
          (verdict) =>
            html`<tr${new Html(verdict.step === kept.step ? ' class="first"' : "")}>
              <td>${verdict.step}</td>
              ${[...verdict.guide, ...verdict.heldOut].map((one) => html`<td>${signed(one.difference)} ± ${number(2 * one.standardError)}</td>`)}
              <td>${verdict.diversity === null ? "" : percent(verdict.diversity.share)}</td>
              <td>${verdict.divergence === null ? "" : Number(verdict.divergence.toPrecision(3))}</td>
              <td>${outcome(verdict)}</td>
            </tr>`,
        )}
      </table>
      <p class="note">
        Rewards: mean difference from the base on the same prompts and seeds, ± two standard
        errors.${left > 0 ? ` ${left} validations between are left out; all are in validation.jsonl.` : null}
      </p>
    </div>`;
}

function outcome({ alarm, passes }: GuardVerdict): string {
  if (alarm !== null) return alarm.kind === "hacking" ? "reward hacking" : "pictures alike";
  return passes ? "passes" : "not kept";
}

function settings({ config, models, versions, startedAt, finishedAt }: TrainingManifest): Html {
  const run: [string, string | null][] = [
    ["started", shownTime(startedAt)],
    ["ended", finishedAt === null ? null : shownTime(finishedAt)],
  ];
  return html`<h2>Settings</h2>
    <div class="tables paths">
      ${table("Method", leaves(config))} ${table("Models", leaves(models))}
      ${table("Run", [...run, ...leaves(versions)])}
    </div>`;
}

/** `a.b` and its value for everything in nested settings; lists on one line, digests cut. */
function leaves(value: unknown, path = ""): [string, string][] {
  if (value === undefined) return [];
  if (value === null) return [[path, "none"]];
  if (Array.isArray(value) && value.length === 1) return leaves(value[0], path);
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return [[path, value.join(", ")]];
  if (typeof value === "object") {
    return Object.entries(value).flatMap(([key, one]) => leaves(one, path === "" ? key : `${path}.${key}`));
  }
  const text = typeof value === "string" && /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 16) : JSON.stringify(value);
  return [[path, typeof value === "string" && text.startsWith('"') ? value : text]];
}

function goingOn({ manifest, result, places, verdicts }: TrainingPageContent): Html {
  const prompt = JSON.stringify(places[0]?.prompt ?? "a prompt").replace(/[$`!]/g, "");
  const done = manifest.status === "finished" || verdicts.some(({ alarm }) => alarm !== null);
  const lines = [
    ...(done ? [] : [`laurel train ${manifest.method} --resume ${manifest.id}`]),
    ...(result?.kind === "lora"
      ? [
          `laurel generate ${prompt} --lora ${result.path}`,
          `laurel generate ${prompt} --lora ${result.path}:0.5   # half as far from the base`,
          `laurel lora inspect ${result.path}`,
        ]
      : []),
    ...(result?.kind === "model" ? [`laurel generate ${prompt} --model ${result.path}`] : []),
  ];
  if (lines.length === 0) return html``;
  return html`<h2>Go on</h2>
    <div class="card"><p class="commands">${lines.join("\n")}</p></div>`;
}

function signed(value: number): string {
  if (Number.isNaN(value)) return "not a number";
  const size = Math.abs(value).toFixed(3);
  return Number(size) === 0 ? size : `${value < 0 ? "−" : "+"}${size}`;
}

function number(value: number): string {
  return Number.isNaN(value) ? "?" : value.toFixed(3);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}
