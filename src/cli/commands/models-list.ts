/** @file `laurel models list`: what is installed, as a table or as JSON. */

import { EXIT } from "../../errors.js";
import { describeModel, type InstalledModel, modelDigest } from "../../installation/describe-model.js";
import { findModels } from "../../installation/find-models.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { byteCount, palette, printable, printJson, shownPath, table, warningLine } from "../output.js";
import { openProgress } from "../progress.js";
import type { ModelsListFlags } from "./models-list.entry.js";

/** A model that is broken is a row like any other; only `--check` makes it an exit code. */
export const modelsList: Action<ModelsListFlags> = async (context, folders, flags) => {
  const { signal, terminal } = context;
  const search = await unlessAborted(findModels(folders, terminal.environment), signal);
  const described: InstalledModel[] = [];
  for (const found of search.found) described.push(await unlessAborted(describeModel(found), signal));
  const listed = flags.digest ? await withDigests(context, described, flags) : described;
  const { places, warnings } = search;
  for (const message of warnings) terminal.stderr.write(`${warningLine(terminal, `warning: ${message}`)}\n`);
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, models: listed, places, warnings });
  else terminal.stdout.write(modelTable(listed, context));
  const broken = listed.filter((model) => model.problems.length > 0).length;
  if (broken > 0 && flags.quiet !== true) {
    const text = `${broken} of ${listed.length} cannot be used as they are`;
    terminal.stderr.write(`${warningLine(terminal, text)}\n`);
  }
  return broken > 0 && flags.check === true ? EXIT.model : EXIT.ok;
};

/** Hashes one model after the other: the disk is what takes the time. */
async function withDigests(
  context: CommandContext,
  described: readonly InstalledModel[],
  flags: ModelsListFlags,
): Promise<InstalledModel[]> {
  const progress = await openProgress(context.terminal, { quiet: flags.quiet, unit: "models hashed" });
  const listed: InstalledModel[] = [];
  try {
    for (const model of described) {
      const note = `now ${nameOf(model)}, ${byteCount(model.bytes)}`;
      progress.update({ finished: listed.length, total: described.length, note });
      listed.push({ ...model, digest: await unlessAborted(modelDigest(model), context.signal) });
    }
  } finally {
    progress.stop();
  }
  return listed;
}

function modelTable(listed: readonly InstalledModel[], { terminal }: CommandContext): string {
  const style = palette(terminal.stdout, terminal.environment);
  const rows = listed.map((model) => [
    printable(nameOf(model)),
    printable(model.kind === "other" ? `other: ${model.family}` : model.kind),
    model.parameters === null ? "-" : parameterCount(model.parameters),
    model.dtypes.join("+") || "-",
    byteCount(model.bytes),
    model.digest?.slice(0, 12) ?? "-",
    printable(model.problems.length > 0 ? shortened(model.problems.join("; ")) : factsOf(model)),
  ]);
  const columns = [
    { title: "model" },
    { title: "kind" },
    { title: "parameters", align: "right" },
    { title: "type" },
    { title: "size", align: "right" },
    { title: "digest" },
    { title: "architecture, or what is wrong" },
  ] as const;
  return table(columns, rows, (text, row) => {
    if (row === "head") return style.dim(text);
    if (listed[row]?.problems.length !== 0) return style.red(text);
    return listed[row]?.usable === true ? text : style.dim(text);
  });
}

/** What tells a model from the others: a repository with its revision, or a path that other commands take. */
function nameOf({ source, name, path, revision }: InstalledModel): string {
  if (source === "embedded") return name;
  if (revision === undefined) return shownPath(path);
  return `${name}@${revision.refs[0] ?? revision.commit.slice(0, 8)}`;
}

function factsOf({ kind, family, architecture }: InstalledModel): string {
  if (kind === "other") return "not supported";
  const facts = Object.entries(architecture).map(([fact, value]) => `${fact} ${value}`);
  return [family, ...facts].join(", ");
}

/** A problem may list every tensor that is missing; `--json` gives it whole. */
function shortened(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}...`;
}

function parameterCount(count: number): string {
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} k`;
  return count < 1e9 ? `${(count / 1e6).toFixed(count < 1e8 ? 1 : 0)} M` : `${(count / 1e9).toFixed(2)} G`;
}
