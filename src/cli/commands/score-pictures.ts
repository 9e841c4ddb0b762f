/** @file `laurel score` on pictures of any number: tables, filters, scores written into metadata. */

import { EXIT, UsageError } from "../../errors.js";
import { checkTablePlace, writeTable } from "../../export/table.js";
import { scoreColumns } from "../../library/pictures/score-columns.js";
import type { PictureScore } from "../../library/pictures/picture-score.js";
import type { PictureChoice, RankedPicture, ScoredPictures } from "../../library/pictures/scored-pictures.js";
import type { CommandContext } from "../context.js";
import { palette, printable, shownPath, table } from "../output.js";
import {
  choiceOf,
  exitCodeOf,
  printJsonList,
  printLine,
  tellSummary,
  toldPicture,
  withScoredPictures,
} from "../pictures.js";
import type { ScoreFlags } from "./score.entry.js";

/** Rows of the table that people see. */
const SHOWN = 20;
/** Letters of a prompt in it. */
const LETTERS = 48;

/** Scores `names`, each picture against its own prompt or all against `--prompt`. @returns the exit code */
export async function scoreManyPictures(
  context: CommandContext,
  names: readonly string[],
  flags: ScoreFlags,
): Promise<number> {
  const { terminal } = context;
  for (const [name, given] of [
    ["--thresholds", flags.thresholds],
    ["--dtype int8", flags.dtype === "int8" ? true : undefined],
  ] as const) {
    if (given === true)
      throw new UsageError(`${name}: expected a PROMPT and images alone, got pictures with prompts of their own, or --out, --index, --prompt, --write-metadata and the like`); // prettier-ignore
  }
  if (flags.near !== undefined && flags.duplicates !== true)
    throw new UsageError("--near: expected --duplicates beside it, got none");
  const choice = choiceOf(flags);
  const chooses = [flags.min, flags.max, flags.topK].some((value) => value !== undefined);
  if (flags.out !== undefined) await checkTablePlace(flags.out, flags.force === true);
  // ranks and choices are known at the end alone
  const atOnce = flags.jsonl === true && !chooses && flags.duplicates !== true;
  const onScored = (picture: PictureScore): Promise<void> =>
    printLine(terminal, JSON.stringify({ schemaVersion: 1, ...toldPicture(picture) }));
  return withScoredPictures(
    context,
    names,
    flags,
    { writeMetadata: flags.writeMetadata, ...(atOnce ? { onScored } : {}) },
    async (set) => {
      const duplicates = flags.duplicates === true ? await set.findDuplicates(flags.near) : undefined;
      const chosen = set.count(choice);
      if (flags.out !== undefined) await writeRows(context, set, flags, chooses ? choice : undefined);
      if (flags.jsonl === true && !atOnce) {
        for await (const row of set.rows(choice, "chosen"))
          await printLine(terminal, JSON.stringify({ schemaVersion: 1, ...toldPicture(row) }));
      }
      if (flags.json === true) {
        const { reward } = set.records;
        const facts = { schemaVersion: 1, prompt: flags.prompt ?? null, reward: reward.name, summary: set.summary() };
        const rows = told(set.rows(choice, chooses ? "chosen" : "all"));
        await printJsonList(terminal, { ...facts, duplicates: duplicates ?? null, chosen }, "results", rows);
      } else if (flags.jsonl !== true && flags.out === undefined && chosen > 0) {
        terminal.stdout.write(bestTable(await set.best(SHOWN, choice), context, flags.prompt === undefined));
        if (chosen > SHOWN && flags.quiet !== true)
          terminal.stderr.write(`the best ${SHOWN} of ${chosen}; --out, --json and --jsonl have all\n`);
      }
      if (flags.quiet !== true) {
        tellSummary(terminal, set, names, chooses ? chosen : undefined);
        if (duplicates !== undefined) terminal.stderr.write(duplicatesLine(duplicates));
      }
      return set.size === 0 ? EXIT.ok : exitCodeOf(set.summary());
    },
  );
}

async function* told(rows: AsyncIterable<RankedPicture>): AsyncGenerator<unknown> {
  for await (const row of rows) yield toldPicture(row);
}

async function writeRows(
  { terminal }: CommandContext,
  set: ScoredPictures,
  flags: ScoreFlags,
  choice: PictureChoice | undefined,
): Promise<void> {
  const rows = set.rows(choice, choice === undefined ? "all" : "chosen");
  const written = await writeTable(flags.out!, rows, scoreColumns(set.records), { force: flags.force === true });
  if (flags.json !== true && flags.jsonl !== true) terminal.stdout.write(`${shownPath(written.path)}\n`);
}

function duplicatesLine({ exact, near }: { readonly exact: number; readonly near: number }): string {
  return `${exact} images have the same pixels as an earlier one, ${near} look nearly as one\n`;
}

function bestTable(rows: readonly RankedPicture[], { terminal }: CommandContext, withPrompts: boolean): string {
  const style = palette(terminal.stdout, terminal.environment);
  return table(
    [
      { title: "rank", align: "right" },
      { title: "score", align: "right" },
      ...(withPrompts ? [{ title: "prompt" }, { title: "in prompt", align: "right" } as const] : []),
      { title: "image" },
    ],
    rows.map(({ rankOfAll, rank, score, prompt, path }) => [
      String(rankOfAll),
      score!.toFixed(4),
      ...(withPrompts ? [shortened(prompt ?? ""), String(rank)] : []),
      shownPath(path),
    ]),
    (text, row) => (row === "head" ? style.dim(text) : row === 0 ? style.bold(style.green(text)) : text),
  );
}

function shortened(prompt: string): string {
  const letters = [...printable(prompt)];
  return letters.length > LETTERS ? `${letters.slice(0, LETTERS - 1).join("")}…` : letters.join("");
}
