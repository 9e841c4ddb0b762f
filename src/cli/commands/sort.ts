/** @file `laurel sort`: pictures that score well put into another folder. */

import { access, constants, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { EXIT, UsageError } from "../../errors.js";
import { INDEX_NAME } from "../../library/pictures/score-index.js";
import { writeFault } from "../../util/read-file.js";
import { defaultIndex } from "../../library/pictures/score-pictures.js";
import type { PictureChoice, ScoredPictures } from "../../library/pictures/scored-pictures.js";
import { deleteRest, scoreBucket, type SortedPicture, sortPictures } from "../../library/pictures/sort-pictures.js";
import { confirmed } from "../confirm.js";
import type { Action, CommandContext } from "../context.js";
import { printable, printJson, shownPath, warningLine } from "../output.js";
import { choiceOf, exitCodeOf, printLine, tellSummary, toldPicture, withScoredPictures } from "../pictures.js";
import type { SortFlags } from "./sort.entry.js";

/** Failures that are listed. */
const LISTED = 100;
const SHOWN = 10;

export const sort: Action<SortFlags> = async (context, names, flags) => {
  const { terminal } = context;
  const to = await checked(names, flags);
  const choice = choiceOf(flags, flags.unique === true);
  return withScoredPictures(
    context,
    names,
    flags,
    { index: await indexFor(names, to, flags), exclude: to === undefined ? [] : [to] },
    async (set, { range }) => {
      if (flags.unique === true) await set.findDuplicates(flags.near);
      const outcome = new Outcome();
      const bucket = flags.bucket ?? scoreBucket(range);
      const { mode, by, dryRun } = flags;
      const options = { to, mode, by, bucket, choice, dryRun, signal: context.signal };
      try {
        for await (const one of sortPictures(set, options)) await tell(context, flags, outcome.add(one));
        if (flags.reject === "delete") await reject(context, set, choice, flags, outcome);
      } finally {
        // also when it is cancelled: what was done is done
        if (flags.quiet !== true) tellSummary(terminal, set, names, set.count(choice));
        tellOutcome(context, flags, outcome, to);
      }
      if (flags.json === true) {
        const { counts, failures } = outcome;
        const { reward } = set.records;
        const facts = { schemaVersion: 1, reward: reward.name, mode, by, to: to ?? null, dryRun: dryRun === true };
        printJson(terminal, { ...facts, chosen: set.count(choice), done: counts, failures, summary: set.summary() });
      }
      return outcome.counts.failed === 0 ? exitCodeOf(set.summary()) : EXIT.partial;
    },
  );
};

/** @returns the folder, absolute @throws UsageError for options that do not go together */
async function checked(names: readonly string[], flags: SortFlags): Promise<string | undefined> {
  const { to, mode, reject: rest, yes, json, jsonl } = flags;
  if (flags.near !== undefined && flags.unique !== true)
    throw new UsageError("--near: expected --unique beside it, got none");
  if (json === true && jsonl === true) throw new UsageError("--json, --jsonl: expected one of them, got both");
  if (rest === "delete" && yes !== true)
    throw new UsageError("--reject delete: expected --yes beside it, got none; nothing was done");
  if (to === undefined && mode !== "list")
    throw new UsageError(`--to: expected the folder to ${mode} images into, or --mode list, got none`);
  if (to === undefined) return undefined;
  const status = await stat(to).catch(() => undefined);
  if (status?.isDirectory() === false) throw new UsageError(`--to: expected a folder, got the file ${to}`);
  const own = names.find((name) => resolve(name) === resolve(to));
  if (own !== undefined) throw new UsageError(`--to: expected another folder than ${own}, whose images are sorted`);
  if (mode !== "list" && flags.dryRun !== true) await expectWritable(resolve(to));
  return resolve(to);
}

/** Before a million images are scored: whether the folder, or the one it is to be made in, can be written to. */
async function expectWritable(folder: string): Promise<void> {
  const there = (await stat(folder).catch(() => undefined)) !== undefined;
  if (!there && dirname(folder) !== folder) return expectWritable(dirname(folder));
  await access(folder, constants.W_OK).catch((error: unknown) => {
    throw new UsageError(`--to: expected a folder that can be written to, got ${writeFault(error)} for ${folder}`);
  });
}

/** Inside the one folder that is named; with several, in the folder they go to. */
async function indexFor(
  names: readonly string[],
  to: string | undefined,
  { mode, dryRun }: SortFlags,
): Promise<string | null | undefined> {
  if ((await defaultIndex(names)) !== null) return undefined;
  const isThere = to !== undefined && (await stat(to).catch(() => undefined)) !== undefined;
  return isThere && mode !== "list" && dryRun !== true ? join(to, INDEX_NAME) : null;
}

/** Deletes what is not chosen, after asking where somebody can answer. */
async function reject(
  context: CommandContext,
  set: ScoredPictures,
  choice: PictureChoice,
  flags: SortFlags,
  outcome: Outcome,
): Promise<void> {
  const { terminal, signal } = context;
  const chosen = set.count(choice);
  const count = set.count() - chosen;
  const say = (text: string): void => void terminal.stderr.write(`${text}\n`);
  if (count === 0) return;
  if (chosen === 0) return say(warningLine(terminal, "nothing is deleted, because nothing is chosen"));
  if (flags.dryRun === true) return say(`${count} images would be deleted`);
  const asks = terminal.stdin?.isTTY === true;
  if (asks && !(await confirmed(context, "sort", `delete ${count} images that are not chosen? [y/N] `)))
    return say("nothing was deleted");
  for await (const one of deleteRest(set, { choice, signal })) await tell(context, flags, outcome.add(one));
}

/** A line for a picture where lines are asked for: to list, in a dry run, and with `--jsonl`. */
async function tell({ terminal }: CommandContext, flags: SortFlags, one: SortedPicture): Promise<void> {
  const { picture, done, to, error } = one;
  if (flags.jsonl === true) {
    const line = { schemaVersion: 1, ...toldPicture(picture), done, to, error: error ?? picture.error };
    await printLine(terminal, JSON.stringify(line));
  } else if (flags.json !== true && (flags.mode === "list" || flags.dryRun === true)) {
    const where = to === null ? "" : ` -> ${shownPath(to)}`;
    await printLine(terminal, `${picture.score!.toFixed(4)}  ${shownPath(picture.path)}${where}`);
  }
}

function tellOutcome({ terminal }: CommandContext, flags: SortFlags, outcome: Outcome, to: string | undefined): void {
  const { counts, failures } = outcome;
  for (const message of failures.slice(0, SHOWN)) terminal.stderr.write(`${warningLine(terminal, message)}\n`);
  const parts = Object.entries(counts).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${WORDS[what]!}`]));
  if (flags.quiet === true || parts.length === 0) return;
  const would = flags.dryRun === true ? "nothing was done; otherwise: " : "";
  const place = to === undefined || flags.mode === "list" ? "" : ` in ${printable(shownPath(to))}`;
  terminal.stderr.write(`${would}${parts.join(", ")}${place}\n`);
}

const WORDS: Readonly<Record<string, string>> = {
  copied: "copied",
  moved: "moved",
  linked: "linked",
  listed: "listed",
  before: "there from before",
  deleted: "deleted",
  failed: "failed",
};

/** Counts what was done. */
class Outcome {
  readonly counts: Record<SortedPicture["done"], number> = {
    copied: 0,
    moved: 0,
    linked: 0,
    listed: 0,
    before: 0,
    deleted: 0,
    failed: 0,
  };
  readonly failures: string[] = [];

  add(one: SortedPicture): SortedPicture {
    this.counts[one.done]++;
    if (one.error !== undefined && this.failures.length < LISTED) this.failures.push(one.error);
    return one;
  }
}
