/** @file `laurel runs rm`: removes runs, after asking. */

import { EXIT, UsageError } from "../../errors.js";
import { describeRun, findRun, listRuns, removeRuns, type RunEntry } from "../../library/run-folder.js";
import { unlessAborted } from "../../util/abort.js";
import { confirmed } from "../confirm.js";
import type { Action } from "../context.js";
import { byteCount, printable } from "../output.js";
import type { RunsRmFlags } from "./runs-rm.entry.js";

const HOUR_MS = 3_600_000;

export const runsRm: Action<RunsRmFlags> = async (context, names, flags) => {
  const { terminal, signal } = context;
  if (names.length === 0 && flags.olderThan === undefined)
    throw new UsageError("runs rm: expected the runs to remove, or --older-than, got neither");
  const runs = await unlessAborted(chosenRuns(names, flags), signal);
  const bytes = byteCount(runs.reduce((sum, run) => sum + run.bytes, 0));
  for (const { id, status, candidates } of runs)
    terminal.stderr.write(`${printable(id)}  ${status}, ${candidates} candidates\n`);
  const what = `${runs.length} run${runs.length === 1 ? "" : "s"} (${bytes})`;
  if (runs.length > 0 && flags.yes !== true && !(await confirmed(context, "runs rm", `remove ${what}? [y/N] `))) {
    terminal.stderr.write("nothing was removed\n");
    return EXIT.ok;
  }
  await removeRuns(runs.map(({ directory }) => directory));
  terminal.stderr.write(`removed ${what}\n`);
  return EXIT.ok;
};

async function chosenRuns(names: readonly string[], { out, olderThan }: RunsRmFlags): Promise<RunEntry[]> {
  const chosen = new Map<string, RunEntry>();
  for (const name of names) {
    const run = await describeRun(await findRun(out, name));
    chosen.set(run.directory, run);
  }
  if (olderThan === undefined) return [...chosen.values()];
  const limit = Date.now() - olderThan * HOUR_MS;
  const old = (run: RunEntry): boolean => Date.parse(run.createdAt) < limit;
  if (names.length > 0) return [...chosen.values()].filter(old);
  // what runs is not old, however long ago it began
  return (await listRuns(out)).filter((run) => old(run) && run.status !== "running");
}
