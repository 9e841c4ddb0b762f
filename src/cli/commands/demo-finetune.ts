/** @file `laurel demo finetune`: what fine-tuning brings on the demo models, and what the guards prevent, by the oracle. */

import { EXIT } from "../../errors.js";
import { measureFinetuning, type MeasuredTraining } from "../../library/demo-finetuning.js";
import type { PairedFigures } from "../../training/finetune/evaluate-finetune.js";
import type { Interval } from "../../util/statistics.js";
import type { Action } from "../context.js";
import { changesOf } from "../changes.js";
import { printJson, table } from "../output.js";
import { openProgress } from "../progress.js";
import type { DemoFinetuneFlags } from "./demo-finetune.entry.js";

/** Prints a table, or with `--json` one object with every figure and its 95 % interval. */
export const demoFinetune: Action<DemoFinetuneFlags> = async ({ terminal, signal }, _, flags) => {
  const { prompts, images, bestOf, rounds, threads, keep = "outputs/demo-finetuning", bestOfMethod = "refl" } = flags;
  const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "steps" });
  const measured = await measureFinetuning({
    directory: keep,
    methods: flags.method,
    prompts,
    imagesPerPrompt: images,
    bestOf,
    bestOfMethod,
    rounds,
    set: changesOf(flags.set),
    threads,
    signal,
    events: { onStep: ({ step }, steps) => progress.update({ finished: step, total: steps }) },
    onEvaluation: (_arm, finished) => progress.update({ finished, total: prompts }),
  }).finally(() => progress.stop());
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, measured });
  else terminal.stdout.write(summary(measured));
  return EXIT.ok;
};

function summary(measured: readonly MeasuredTraining[]): string {
  const rows = measured.map(({ method, guards, round, figures, keptStep, steps, seconds }) => [
    method,
    guards,
    String(round),
    `${keptStep} of ${steps}`,
    (seconds / 60).toFixed(1),
    `${percent(figures.single.base)} -> ${percent(figures.single.tuned)}`,
    percent(figures.single.difference),
    plain(figures.guide.difference),
    plain(figures.heldOut.difference),
    percent(figures.diversity),
  ]);
  const titles = [
    "method",
    "guards",
    "round",
    "step",
    "minutes",
    "holds, %",
    "gain",
    "guide",
    "held-out",
    "diversity, %",
  ];
  const text = table(
    titles.map((title) => ({ title })),
    rows,
  );
  const best = measured.flatMap(({ method, bestOf }) =>
    bestOf?.bestOfN
      ? [
          comparison(`best of ${bestOf.bestOfN.n} on ${method}`, bestOf.bestOfN),
          comparison("a single one of these pictures", bestOf.single),
        ]
      : [],
  );
  const stops = measured.flatMap(({ method, guards, stop }) =>
    stop === null ? [] : [`${method}, ${guards}: ${stop}`],
  );
  return [text, ...[...best, ...stops].map((line) => `${line}\n`)].join("");
}

function comparison(what: string, { base, tuned, difference }: PairedFigures): string {
  return `${what}: ${percent(tuned)} %, on the base: ${percent(base)} %, difference ${percent(difference)}`;
}

function percent({ estimate, low, high }: Interval): string {
  const [middle, from, to] = [estimate, low, high].map((value) => (100 * value).toFixed(1));
  return `${middle} (${from} to ${to})`;
}

function plain({ estimate, low, high }: Interval): string {
  const [middle, from, to] = [estimate, low, high].map((value) => value.toFixed(3));
  return `${middle} (${from} to ${to})`;
}
