/** @file What the commands on existing pictures have in common: scoring with a bar, and what is told of it. */

import { EXIT, UsageError } from "../errors.js";
import type { Reward } from "../rewards/contract.js";
import { type ScoringSummary } from "../library/pictures/counts.js";
import type { PictureScore, PromptsFrom } from "../library/pictures/picture-score.js";
import { scorePictures, type ScorePicturesOptions } from "../library/pictures/score-pictures.js";
import type { PictureChoice, RankedPicture, ScoredPictures } from "../library/pictures/scored-pictures.js";
import { unlessAborted } from "../util/abort.js";
import type { CommandContext } from "./context.js";
import { type JudgeFlags, judgesOf, openJudges } from "./judges.js";
import { flushed, printable, type Terminal, warningLine } from "./output.js";
import { openProgress } from "./progress.js";
import { useSession } from "./use-session.js";

/** The options that both have. */
export interface PicturesFlags extends JudgeFlags {
  readonly prompt?: string | undefined;
  readonly prompts?: PromptsFrom | undefined;
  readonly index?: string | undefined;
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  readonly topK?: number | undefined;
  readonly near?: number | undefined;
  readonly quiet?: true | undefined;
}

/** Problems that are shown. */
const SHOWN = 10;

/** Which pictures the options choose. @throws UsageError for a range that holds nothing */
export function choiceOf({ min, max, topK }: PicturesFlags, unique = false): PictureChoice {
  if (min !== undefined && max !== undefined && min > max)
    throw new UsageError(`--min, --max: expected the least score first, got ${min} and ${max}`);
  return { minimum: min, maximum: max, topK, unique };
}

/** Scores with a progress bar, and gives what was scored to `work`; the index is let go of whatever happens. */
export async function withScoredPictures<Result>(
  context: CommandContext,
  names: readonly string[],
  flags: PicturesFlags,
  options: Pick<ScorePicturesOptions, "index" | "writeMetadata" | "exclude" | "onScored">,
  work: (set: ScoredPictures, reward: Reward) => Promise<Result>,
): Promise<Result> {
  const { terminal, signal } = context;
  const { prompt, prompts } = flags;
  if (prompt !== undefined && prompts !== undefined)
    throw new UsageError("--prompt, --prompts: expected one of them, got both");
  const judges = judgesOf(flags);
  return useSession(context, async (session) => {
    const reward = await unlessAborted(openJudges(session, judges), signal);
    const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "images" });
    let finished = 0;
    let set: ScoredPictures;
    try {
      set = await scorePictures(reward, names, {
        ...options,
        index: flags.index === undefined ? options.index : flags.index === "none" ? null : flags.index,
        prompt,
        prompts,
        signal,
        onScored: async (picture, found) => {
          await options.onScored?.(picture, found);
          progress.update({ finished: ++finished, total: Math.max(found, finished) });
        },
      });
    } finally {
      progress.stop();
    }
    try {
      return await work(set, reward);
    } finally {
      await set.close();
    }
  });
}

/** Tells on stderr what happened. @param chosen pictures that the options chose; undefined where they choose none */
export function tellSummary(terminal: Terminal, set: ScoredPictures, names: readonly string[], chosen?: number): void {
  const summary = set.summary();
  const say = (text: string): void => void terminal.stderr.write(`${text}\n`);
  for (const message of summary.warnings.slice(0, SHOWN)) say(warningLine(terminal, `warning: ${message}`));
  for (const message of summary.problems.slice(0, SHOWN)) say(warningLine(terminal, message));
  const more = summary.problems.length + summary.warnings.length + summary.notListed;
  const shown = Math.min(summary.warnings.length, SHOWN) + Math.min(summary.problems.length, SHOWN);
  if (more > shown) say(warningLine(terminal, `${more - shown} more problems and warnings are not shown`));
  if (summary.pictures === 0) {
    say(`no images found in ${names.map(printable).join(", ")}`);
    return;
  }
  say(summaryLine(summary, set.prompts));
  if (chosen === 0) say("none of them is chosen: no score is in the range that was asked for");
  else if (chosen !== undefined && chosen < summary.pictures) say(`${chosen} of them chosen`);
}

function summaryLine(summary: ScoringSummary, prompts: number): string {
  const { pictures, scored, unchanged, broken, withoutPrompt, withoutScore, written, notWritten, passedOver } = summary;
  const parts = [
    `${scored} scored`,
    ...counted(unchanged, "unchanged since they were scored before"),
    ...counted(broken, "cannot be read"),
    ...counted(withoutPrompt, "without a prompt"),
    ...counted(withoutScore, "without a finite score"),
    ...counted(written, "with their score written into them"),
    ...counted(notWritten, "that their score could not be written into"),
    ...counted(passedOver, "folders or names passed over"),
  ];
  const of = prompts === 0 ? "" : ` of ${prompts} prompt${prompts === 1 ? "" : "s"}`;
  return `${pictures} image${pictures === 1 ? "" : "s"}${of}: ${parts.join(", ")}`;
}

function counted(count: number, what: string): string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

/** 0 when everything that was found has a score, and got it written where that was asked for. */
export function exitCodeOf(summary: ScoringSummary): number {
  const { broken, withoutPrompt, withoutScore, notWritten, passedOver } = summary;
  return broken + withoutPrompt + withoutScore + notWritten + passedOver === 0 ? EXIT.ok : EXIT.partial;
}

/** A picture for `--json` and `--jsonl`, without what only the index needs. */
export function toldPicture(picture: PictureScore | RankedPicture): Record<string, unknown> {
  const { path, prompt, promptFrom, score } = picture;
  const internal = { bytes: undefined, modified: undefined, digest: undefined, look: undefined, chosen: undefined };
  const first = { path, prompt, promptFrom, score };
  return { ...first, ...picture, ...internal };
}

/** Prints a line and waits where the reader is slower than the writer. */
export async function printLine(terminal: Terminal, line: string): Promise<void> {
  if (!terminal.stdout.write(`${line}\n`)) await flushed(terminal.stdout);
}

/** Prints one JSON object whose last key is a list of any length. */
export async function printJsonList(
  terminal: Terminal,
  facts: Readonly<Record<string, unknown>>,
  key: string,
  rows: AsyncIterable<unknown>,
): Promise<void> {
  const head = JSON.stringify(facts, null, 2).replace(/\n\}$/, "");
  await printLine(terminal, `${head},\n  ${JSON.stringify(key)}: [`);
  let before: string | undefined;
  for await (const row of rows) {
    if (before !== undefined) await printLine(terminal, `${before},`);
    before = `    ${JSON.stringify(row)}`;
  }
  if (before !== undefined) await printLine(terminal, before);
  await printLine(terminal, "  ]\n}");
}
