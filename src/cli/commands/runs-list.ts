/** @file `laurel runs list`: what is in a folder of runs. */

import { EXIT } from "../../errors.js";
import { listRuns, type RunEntry } from "../../library/run-folder.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action } from "../context.js";
import { byteCount, palette, printable, printJson, table, type Terminal } from "../output.js";
import type { RunsListFlags } from "./runs-list.entry.js";

/** Most characters of a title. */
const TITLE = 40;

export const runsList: Action<RunsListFlags> = async ({ terminal, signal }, [folder = "outputs"], flags) => {
  const runs = await unlessAborted(listRuns(folder), signal);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, runs });
  else terminal.stdout.write(runTable(runs, terminal));
  if (flags.quiet !== true && flags.json !== true) {
    const bytes = runs.reduce((sum, run) => sum + run.bytes, 0);
    terminal.stderr.write(`${runs.length} runs, ${byteCount(bytes)}\n`);
  }
  return EXIT.ok;
};

function runTable(runs: readonly RunEntry[], terminal: Terminal): string {
  const style = palette(terminal.stdout, terminal.environment);
  const rows = runs.map((run) => [
    printable(run.id),
    run.kind ?? "-",
    run.status,
    run.items === null ? "-" : `${run.items.finished}/${run.items.total}`,
    String(run.candidates),
    run.best === null ? "-" : run.best.toFixed(4),
    byteCount(run.bytes),
    run.createdAt.slice(0, 16).replace("T", " "),
    printable(shortened(run.problem ?? run.title)),
  ]);
  const columns = [
    { title: "run" },
    { title: "kind" },
    { title: "status" },
    { title: "items", align: "right" },
    { title: "candidates", align: "right" },
    { title: "best", align: "right" },
    { title: "size", align: "right" },
    { title: "begun (UTC)" },
    { title: "prompt or name" },
  ] as const;
  return table(columns, rows, (text, row) => {
    if (row === "head") return style.dim(text);
    const status = runs[row]?.status;
    if (status === "broken" || status === "failed") return style.red(text);
    return status === "complete" || status === "running" ? text : style.yellow(text);
  });
}

function shortened(text: string): string {
  return text.length > TITLE ? `${text.slice(0, TITLE - 3)}...` : text;
}
