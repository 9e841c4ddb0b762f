/** @file What a search for a prompt found, as the command line shows it. */

import { join } from "node:path";
import { readRefinement } from "../library/refine.js";
import type { PipelinePlan } from "../pipeline/document/plan.js";
import type { PipelineManifest } from "../pipeline/execute/manifest.js";
import { type Conclusion, signed, verdict } from "../strategies/refine/conclusion.js";
import type { Gain, PromptRecord } from "../strategies/refine/contract.js";
import { duration, palette, printable, printJson, shownPath, table, type Terminal } from "./output.js";

/** Prints the result of a search: JSON or a table of the prompts on stdout, the conclusion on stderr. */
export async function printRefinement(
  terminal: Terminal,
  directory: string,
  manifest: PipelineManifest,
  plan: PipelinePlan,
  flags: { readonly json?: true; readonly quiet?: true },
): Promise<void> {
  const conclusion = await readRefinement(directory, plan);
  const path = (image: string | undefined): string | null => (image === undefined ? null : join(directory, image));
  const { winner, best, baseline, confirmed, prompts } = conclusion;
  if (flags.json === true) {
    printJson(terminal, {
      schemaVersion: 1,
      runId: manifest.runId,
      directory,
      prompt: plan.items[0]?.prompt ?? "",
      best: { prompt: winner, score: best?.score ?? null, path: path(best?.image) },
      baseline: { score: baseline?.score ?? null, path: path(baseline?.image) },
      improved: winner !== plan.items[0]?.prompt,
      confirmed,
      prompts,
      warnings: manifest.warnings,
    });
    return;
  }
  terminal.stdout.write(promptTable(conclusion, terminal));
  if (flags.quiet === true) return;
  const { bold } = palette(terminal.stderr, terminal.environment);
  terminal.stderr.write(
    `${printable(verdict(conclusion))}\n` +
      `best picture ${bold(number(best?.score ?? null))}, of your own prompt ${number(baseline?.score ?? null)}; ` +
      `${manifest.candidates} candidates in ${duration(manifest.totalMs)}\n` +
      `${best === null ? shownPath(directory) : shownPath(join(directory, best.image))}\n`,
  );
}

/** The prompts, the best first; the winner is marked. */
function promptTable({ prompts, winner }: Conclusion, terminal: Terminal): string {
  const style = palette(terminal.stdout, terminal.environment);
  const sorted = [...prompts].sort((a, b) => (b.mean ?? -Infinity) - (a.mean ?? -Infinity));
  const rows = sorted.map((record) => [
    number(record.mean),
    record.low === null || record.high === null ? "" : `${record.low.toFixed(2)} to ${record.high.toFixed(2)}`,
    number(record.best),
    String(record.candidates),
    gained(record.gain),
    mark(record, winner),
    printable(record.prompt),
    printable(record.edit ?? ""),
  ]);
  return table(
    [
      { title: "mean", align: "right" },
      { title: "95 % interval", align: "right" },
      { title: "best", align: "right" },
      { title: "candidates", align: "right" },
      { title: "edit gained", align: "right" },
      { title: "" },
      { title: "prompt" },
      { title: "edit" },
    ],
    rows,
    (text, row) => {
      if (row === "head") return style.dim(text);
      return sorted[row]?.prompt === winner ? style.bold(style.green(text)) : text;
    },
  );
}

function mark({ prompt, parent, excluded }: PromptRecord, winner: string): string {
  if (prompt === winner) return parent === null ? "yours, kept" : "winner";
  if (excluded !== null) return "cut";
  return parent === null ? "yours" : "";
}

function gained(gain: Gain | null): string {
  if (gain === null) return "";
  const { estimate, low, high } = gain;
  return low === null || high === null ? signed(estimate) : `${signed(estimate)} (${signed(low)} to ${signed(high)})`;
}

function number(value: number | null): string {
  return value === null ? "none" : value.toFixed(3);
}
