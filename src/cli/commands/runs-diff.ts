/** @file `laurel runs diff`: in what two runs differ. */

import { EXIT } from "../../errors.js";
import { compareCandidates, compareSettings } from "../../library/compare-runs.js";
import { findRun } from "../../library/run-folder.js";
import { readAnyRun } from "../../pipeline/any-run.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action } from "../context.js";
import { printable, printJson, table } from "../output.js";
import type { RunsDiffFlags } from "./runs-diff.entry.js";

/** Candidates that are listed by name. */
const SHOWN = 20;

export const runsDiff: Action<RunsDiffFlags> = async ({ terminal, signal }, [first = "", second = ""], flags) => {
  const before = await readAnyRun(await findRun(flags.out, first));
  const after = await readAnyRun(await findRun(flags.out, second));
  const settings = compareSettings(before, after);
  const candidates = await unlessAborted(compareCandidates(before, after), signal);
  if (flags.json === true) {
    const names = { before: before.manifest.runId, after: after.manifest.runId };
    printJson(terminal, { schemaVersion: 1, ...names, settings, candidates });
    return EXIT.ok;
  }
  const { stdout } = terminal;
  if (settings.length === 0) stdout.write("the settings are the same\n");
  else {
    const shown = (value: unknown): string => (value === undefined ? "-" : printable(String(value)));
    const rows = settings.map((one) => [one.path, shown(one.before), shown(one.after)]);
    stdout.write(
      table([{ title: "setting" }, { title: before.manifest.runId }, { title: after.manifest.runId }], rows),
    );
  }
  const { compared, different, scores, onlyBefore, onlyAfter } = candidates;
  stdout.write(
    `\n${compared - different.length} of ${compared} images are identical, ${compared - scores.length} of ${compared} scores are equal` +
      `${onlyBefore + onlyAfter === 0 ? "" : `; ${onlyBefore} candidates are only in the first run, ${onlyAfter} only in the second`}\n`,
  );
  if (scores.length > 0) {
    const number = (score: number | null): string => (score === null ? "none" : score.toFixed(4));
    const rows = scores
      .slice(0, SHOWN)
      .map((one) => [printable(one.name), number(one.before), number(one.after), change(one.before, one.after)]);
    const columns = [
      { title: "candidate" },
      ...["before", "after", "change"].map((title) => ({ title, align: "right" as const })),
    ];
    stdout.write(`\n${table(columns, rows)}`);
    if (scores.length > SHOWN) stdout.write(`and ${scores.length - SHOWN} more (--json has them all)\n`);
  }
  return EXIT.ok;
};

function change(before: number | null, after: number | null): string {
  if (before === null || after === null) return "";
  return `${after < before ? "" : "+"}${(after - before).toFixed(4)}`;
}
