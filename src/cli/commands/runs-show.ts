/** @file `laurel runs show`: one run, for people or as JSON. */

import { join } from "node:path";
import { EXIT } from "../../errors.js";
import { describeRun, findRun, type RunEntry } from "../../library/run-folder.js";
import { isTrainRun, readTrainManifest, TRAINING_FILES, type TrainRunManifest } from "../../library/train-run.js";
import { type AnyRun, readAnyRun } from "../../pipeline/any-run.js";
import { limitsOf } from "../../pipeline/manifest.js";
import { limitsInWords, stopInWords } from "../../strategies/budget.js";
import { printStrategy } from "../../strategies/settings.js";
import { ItemLines } from "../../pipeline/execute/recover.js";
import { readRun } from "../../pipeline/run-store.js";
import { referenceScores } from "../../pipeline/score-references.js";
import { readPlan } from "../../pipeline/search-trace.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action } from "../context.js";
import { printItems } from "../items.js";
import {
  byteCount,
  duration,
  palette,
  printable,
  printJson,
  shownPath,
  type Terminal,
  warningLine,
} from "../output.js";
import { resultTable, runResult, type RunResultJson } from "../result.js";
import type { RunsShowFlags } from "./runs-show.entry.js";

export const runsShow: Action<RunsShowFlags> = async ({ terminal, signal }, [name = ""], flags) => {
  const directory = await findRun(flags.out, name);
  if (isTrainRun(directory)) {
    const entry = await unlessAborted(describeRun(directory), signal);
    const manifest = await readTrainManifest(join(directory, TRAINING_FILES.manifest));
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, ...entry, manifest });
    else terminal.stdout.write(trainingFacts(entry, manifest, terminal));
    return EXIT.ok;
  }
  const run = await readAnyRun(directory);
  const entry = await unlessAborted(describeRun(directory), signal);
  if (flags.json === true) {
    const results =
      run.kind === "generate"
        ? shownOf(await resultOf(directory))
        : { document: run.plan.document, itemLines: await itemLines(directory) };
    printJson(terminal, { schemaVersion: 1, ...entry, manifest: run.manifest, ...results });
    return EXIT.ok;
  }
  terminal.stdout.write(factLines(entry, run, terminal));
  if (run.kind === "generate") terminal.stdout.write(resultTable(await resultOf(directory), terminal));
  else await printItems(terminal, directory);
  for (const message of run.manifest.warnings)
    terminal.stderr.write(`${warningLine(terminal, `warning: ${message}`)}\n`);
  return EXIT.ok;
};

async function resultOf(directory: string): Promise<RunResultJson> {
  const run = await readRun(directory);
  return runResult(run, await referenceScores(run.manifest.models.reward), await readPlan(directory));
}

/** What JSON has of a result beside the manifest. */
function shownOf({ candidates, plan }: RunResultJson): Pick<RunResultJson, "candidates" | "plan"> {
  return { candidates, ...(plan === undefined ? {} : { plan }) };
}

async function itemLines(directory: string): Promise<unknown[]> {
  const lines = await ItemLines.open(directory);
  const all: unknown[] = [];
  for await (const line of lines) all.push(line);
  await lines.close();
  return all;
}

function factLines(entry: RunEntry, run: AnyRun, terminal: Terminal): string {
  const { dim } = palette(terminal.stdout, terminal.environment);
  const { models, versions, error, createdAt, sessions, evaluations } = run.manifest;
  const facts: (readonly [string, string | null])[] = [
    ["run", entry.id],
    ["status", [entry.status, ...(error === null ? stopOf(run) : [error])].join(": ")],
    ...(run.kind === "generate" ? asked(run.manifest) : planned(run)),
    ["candidates", `${entry.candidates}, ${evaluations} evaluations of the denoiser`],
    ["best", entry.best === null ? null : entry.best.toFixed(4)],
    ...(["backend", "reward"] as const).map((role) => {
      const { name, model, digest } = models[role];
      return [role, `${name}: ${model}${digest === null ? "" : ` (${digest.slice(0, 12)})`}`] as const;
    }),
    ["begun", `${createdAt}, ${sessions} session${sessions === 1 ? "" : "s"}`],
    ["took", timesOf(run)],
    ["made with", `laurel ${versions.laurel}, ONNX Runtime ${versions.onnxruntime}, node ${versions.node}`],
    ["size", `${byteCount(entry.bytes)} in ${shownPath(entry.directory)}`],
  ];
  return `${facts.flatMap(([name, value]) => (value === null ? [] : [`${dim(name.padEnd(10))} ${printable(value)}`])).join("\n")}\n\n`;
}

function trainingFacts(entry: RunEntry, manifest: TrainRunManifest, terminal: Terminal): string {
  const { dim } = palette(terminal.stdout, terminal.environment);
  const { models, stop, result, startedAt, sessions, method, step, steps } = manifest;
  const named = (list: readonly { readonly name: string }[]): string => list.map(({ name }) => name).join(", ");
  const facts: (readonly [string, string | null])[] = [
    ["run", entry.id],
    ["status", stop === null ? entry.status : `${entry.status}: ${stop.reason}`],
    ["training", `${method}, ${step} of ${steps} updates`],
    ["model", models.generator.model],
    ["rewards", named(models.rewards)],
    ["held out", models.heldOut.length === 0 ? null : named(models.heldOut)],
    ["result", result],
    ["begun", `${startedAt}, ${sessions} session${sessions === 1 ? "" : "s"}`],
    ["size", `${byteCount(entry.bytes)} in ${shownPath(entry.directory)}`],
  ];
  return facts
    .flatMap(([name, value]) => (value === null ? [] : [`${dim(name.padEnd(10))} ${printable(value)}\n`]))
    .join("");
}

/** Why a run ended early, if it did. */
function stopOf(run: AnyRun): string[] {
  if (run.kind === "pipeline" || run.manifest.stop === null) return [];
  const why = stopInWords(run.manifest.stop, limitsOf(run.manifest.config));
  return why === null ? [] : [why];
}

function asked({ config, seeds }: Extract<AnyRun, { kind: "generate" }>["manifest"]): (readonly [string, string])[] {
  const shown = ["steps", "guidance", "sampler", "width", "height", "strength", "batch"] as const;
  const budget = limitsInWords(limitsOf(config));
  const settings = shown.flatMap((name) => (config[name] === null ? [] : [`${name} ${config[name]}`]));
  return [
    ["prompt", config.prompt],
    ...(config.negativePrompt === null ? [] : [["without", config.negativePrompt] as const]),
    ["strategy", printStrategy(config.strategy)],
    ...(budget === null ? [] : [["budget", budget] as const]),
    ["settings", settings.join(", ")],
    ...config.loras.map(({ path, scale }) => ["LoRA", `${path} at ${scale}`] as const),
    ["seeds", `${seeds.first} to ${seeds.last}`],
  ];
}

function planned({ manifest, plan }: Extract<AnyRun, { kind: "pipeline" }>): (readonly [string, string])[] {
  const { finished, failed, total } = manifest.items;
  return [
    ["pipeline", `${manifest.name} (${manifest.file})`],
    ["steps", plan.steps.map(({ kind }) => kind).join(" -> ")],
    ["items", `${finished} of ${total}${failed === 0 ? "" : `, ${failed} failed`}`],
    ["seed", `${manifest.seed}, ${plan.seeds}`],
  ];
}

function timesOf(run: AnyRun): string {
  if (run.kind === "pipeline") return duration(run.manifest.totalMs);
  const { totalMs, generateMs, scoreMs } = run.manifest.timings;
  return `${duration(totalMs)}: drawing ${duration(generateMs)}, scoring ${duration(scoreMs)}`;
}
