/** @file `laurel eval preferences`: preference accuracy, recall@k and filter@k of rewards, beside each other. */

import { dirname, resolve } from "node:path";
import { EXIT } from "../../errors.js";
import { CHOSEN_COUNTS, type PreferenceFigures } from "../../evaluation/preferences.js";
import { comparePreferences, type PreferenceComparison, readRankedPrompts } from "../../library/eval-preferences.js";
import { sha256File } from "../../util/files.js";
import type { Action } from "../context.js";
import { evaluated, expectEvaluated, percentInterval, tellRemarks } from "../evaluation.js";
import { printable, printJson, table, warningLine } from "../output.js";
import type { EvalPreferencesFlags } from "./eval-preferences.entry.js";

export const evalPreferences: Action<EvalPreferencesFlags> = async (context, [file = ""], flags) => {
  const { terminal } = context;
  expectEvaluated(flags);
  const images = resolve(flags.images ?? dirname(file));
  const prompts = await readRankedPrompts(file, images);
  const identity = `${await sha256File(file)}\0${images}`;
  const rewards = await evaluated(context, flags, { prompts, kind: "preferences", identity });
  const compared = comparePreferences(prompts, rewards.models);
  if (flags.json === true) {
    printJson(terminal, {
      schemaVersion: 1,
      file: resolve(file),
      images,
      rewards: compared.rewards.map((one, i) => ({ ...one, scores: rewards.models[i]!.file })),
      chance: compared.chance,
      leftOut: compared.leftOut,
      warnings: [...rewards.warnings, ...rewards.unreadable],
    });
  } else terminal.stdout.write(figuresTable(compared));
  tellRemarks(context, rewards, flags);
  const { prompts: counted, pairs, ties } = compared.chance;
  if (flags.quiet !== true && flags.json !== true) {
    terminal.stderr.write(
      `${counted} prompts, ${pairs} pairs, ${ties} ties of people left out; per cent, with 95 % intervals over prompts\n`,
    );
  }
  if (rewards.unreadable.length === 0) return EXIT.ok;
  const text = `${compared.leftOut.length} of ${prompts.length} prompts are left out: they have pictures that could not be read`;
  terminal.stderr.write(`${warningLine(terminal, text)}\n`);
  return EXIT.partial;
};

/** A row for each figure, a column for each model. */
function figuresTable({ rewards, chance }: PreferenceComparison): string {
  const columns: (readonly [string, PreferenceFigures])[] = [
    ...rewards.map(({ name, figures }) => [name, figures] as const),
    ["chance", chance],
  ];
  const row = (name: string, figure: (figures: PreferenceFigures) => string): string[] => [
    name,
    ...columns.map(([, figures]) => figure(figures)),
  ];
  const titles = columns.map(([name]) => ({ title: printable(name) }));
  return table(
    [{ title: "" }, ...titles],
    [
      row("accuracy", ({ accuracy }) => percentInterval(accuracy)),
      ...CHOSEN_COUNTS.map((k) => row(`recall@${k}`, ({ recall }) => percentInterval(recall[k]))),
      ...CHOSEN_COUNTS.map((k) => row(`filter@${k}`, ({ filter }) => percentInterval(filter[k]))),
    ],
  );
}
