/** @file `laurel check`: faults of pipelines, each with its place. */

import { EXIT, LaurelError } from "../../errors.js";
import { estimatePipeline } from "../../library/pipelines.js";
import { exportOf, trainedPipeline } from "../../library/pipeline-training.js";
import { checkRefiners } from "../../library/refiners.js";
import { planDocument, readDocument } from "../../pipeline/document/load.js";
import { DocumentError } from "../../util/yaml/located.js";
import type { Action } from "../context.js";
import { palette, printable, printJson } from "../output.js";
import type { CheckFlags } from "./check.entry.js";
import { changesOf } from "../changes.js";

/** One document in the JSON output. */
interface CheckResult {
  readonly file: string;
  readonly ok: boolean;
  /** Each `file:line:column: what is wrong`. */
  readonly faults: readonly string[];
  readonly items: number | null;
  /** Candidates, at most. */
  readonly candidates: number | null;
}

export const check: Action<CheckFlags> = async ({ terminal }, files, flags) => {
  const set = changesOf(flags.set);
  const results: CheckResult[] = [];
  for (const file of files) results.push(await checkFile(file, set));
  const ok = results.every((one) => one.ok);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, ok, results });
  else {
    const { green, red } = palette(terminal.stdout, terminal.environment);
    for (const { file, faults, items, candidates } of results) {
      if (faults.length === 0 && flags.quiet !== true) {
        const drawn = items === null ? "draws nothing" : `${items} items, at most ${candidates} candidates`;
        terminal.stdout.write(`${green("ok")} ${printable(file)}: ${drawn}\n`);
      }
      for (const fault of faults) terminal.stdout.write(`${red(printable(fault))}\n`);
    }
  }
  return ok ? EXIT.ok : EXIT.usage;
};

async function checkFile(file: string, set: Readonly<Record<string, string>>): Promise<CheckResult> {
  try {
    const document = await readDocument(file, set);
    if (exportOf(document, "outputs") !== undefined)
      return { file, ok: true, faults: [], items: null, candidates: null };
    const plan = (await trainedPipeline(document))?.plan ?? (await planDocument(document));
    await checkRefiners(plan);
    const { items, candidates } = estimatePipeline(plan);
    return { file, ok: true, faults: [], items, candidates };
  } catch (error) {
    if (!(error instanceof LaurelError)) throw error;
    const faults = error instanceof DocumentError ? error.faults : [error.message];
    return { file, ok: false, faults, items: null, candidates: null };
  }
}
