/** @file `laurel score`: the ranking ImageReward's `inference_rank` gives, for image files. */

import { stat } from "node:fs/promises";
import { CancelledError, EXIT, UsageError } from "../../errors.js";
import { type ExplainedScore, explainScores, type ReferenceScores, thresholdTable } from "../../evaluation/explain.js";
import { findImages } from "../../image/find-images.js";
import { describeAgreement, int8Agreement } from "../../library/int8-agreement.js";
import { referenceOf } from "../../library/reference-of.js";
import { type FileScore, type FileScores, scoreFiles, type ScoreFilesOptions } from "../../library/score-files.js";
import { unlessAborted } from "../../util/abort.js";
import type { Reward } from "../../rewards/contract.js";
import type { Action, CommandContext, ModelSession } from "../context.js";
import { detailColumns } from "../details.js";
import { BETTER_THAN, bestInWords, percentCell, thresholdsTable } from "../explained.js";
import { type JudgeSources, judgesOf, openJudges } from "../judges.js";
import { palette, printable, printJson, shownPath, table, warningLine } from "../output.js";
import { openProgress } from "../progress.js";
import { useSession } from "../use-session.js";
import type { ScoreFlags } from "./score.entry.js";
import { scoreManyPictures } from "./score-pictures.js";

/** Results are in the order of the arguments; the table shows the best first and unreadable images last. */
export const score: Action<ScoreFlags> = async (context, [prompt = "", ...patterns], flags) => {
  const { terminal } = context;
  const names = await ownPrompts(prompt, patterns, flags);
  if (flags.json === true && flags.jsonl === true) {
    throw new UsageError("--json, --jsonl: expected one of them, got both");
  }
  if (flags.thresholds === true && flags.jsonl === true) {
    throw new UsageError("--thresholds, --jsonl: expected one of them, got both");
  }
  if (names !== undefined) return scoreManyPictures(context, names, flags);
  if (asksForMany(flags)) return scoreManyPictures(context, patterns, { ...flags, prompt });
  const paths = await findImages(patterns);
  const { results, warnings, reward, reference } = await scoreWith(context, prompt, paths, flags);
  const scores = results.map((one) => one.score);
  const explained = explainScores(scores, reference);
  const thresholds = thresholdTable(scores, reference);
  for (const message of warnings) terminal.stderr.write(`${warningLine(terminal, `warning: ${message}`)}\n`);
  if (flags.json === true) {
    const told = results.map((one, i) => ({ ...one, ...explained[i]! }));
    const compared = reference === undefined ? null : { pictures: reference.pictures, source: reference.source };
    printJson(terminal, { schemaVersion: 1, prompt, reward, results: told, reference: compared, thresholds, warnings });
  } else {
    if (flags.jsonl !== true) terminal.stdout.write(scoreTable(results, reference && explained, context));
    if (flags.thresholds === true) terminal.stdout.write(`\n${thresholdsTable(thresholds)}`);
    if (flags.quiet !== true && reference !== undefined) terminal.stderr.write(bestInWords(explained, reference));
  }
  const unreadable = results.filter((result) => result.error !== undefined).length;
  if (unreadable === 0) return EXIT.ok;
  if (flags.quiet !== true) {
    const text = `${unreadable} of ${results.length} images could not be read`;
    terminal.stderr.write(`${warningLine(terminal, text)}\n`);
  }
  return EXIT.partial;
};

/**
 * The images, where all arguments are: with `--prompt` or `--prompts`, or a single argument. Undefined where the first is a prompt.
 * @throws UsageError where the first of several seems to be an image
 */
async function ownPrompts(
  first: string,
  others: readonly string[],
  { prompt, prompts }: ScoreFlags,
): Promise<readonly string[] | undefined> {
  if (prompt !== undefined || prompts !== undefined) return [first, ...others];
  const status = await stat(first).catch(() => undefined);
  if (others.length === 0) {
    if (status !== undefined || /[*?[\]{}]/.test(first)) return [first];
    throw new UsageError(
      `${first}: expected images after a prompt, or one image, folder or pattern alone, got no file of that name`,
    );
  }
  if (status === undefined) return undefined;
  throw new UsageError(
    `${first}: expected a prompt before the images, got ${status.isDirectory() ? "a folder" : "a file"} that is there; --prompts any scores each image against its own prompt, --prompt TEXT all against one`,
  );
}

/** What only the scoring of pictures of any number can do. */
function asksForMany({ out, index, min, max, topK, near, writeMetadata, duplicates, force }: ScoreFlags): boolean {
  return [out, index, min, max, topK, near, writeMetadata, duplicates, force].some((value) => value !== undefined);
}

async function scoreWith(
  context: CommandContext,
  prompt: string,
  paths: readonly string[],
  flags: ScoreFlags,
): Promise<FileScores & { readonly reward: string; readonly reference: ReferenceScores | undefined }> {
  const { terminal, signal } = context;
  const judges = judgesOf(flags);
  let finished = 0;
  // A bar would be drawn between the lines of a terminal that shows both streams.
  const quiet = flags.quiet === true || (flags.jsonl === true && terminal.stdout.isTTY === true);
  const progress = await openProgress(terminal, { quiet, unit: "images" });
  try {
    return await useSession(context, async (session) => {
      const { reward, warnings } = await openScorer(context, session, judges, { prompt, paths, flags });
      const onScored: ScoreFilesOptions["onScored"] = (file) => {
        if (flags.jsonl === true) terminal.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...file })}\n`);
        progress.update({ finished: ++finished, total: paths.length });
      };
      const scored = await scoreFiles(reward, prompt, paths, { signal, onScored });
      return {
        ...scored,
        warnings: [...warnings, ...scored.warnings],
        reward: reward.name,
        reference: await referenceOf(reward),
      };
    });
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
    throw new CancelledError(`cancelled with ${finished} of ${paths.length} images scored`, { cause: error });
  } finally {
    progress.stop();
  }
}

/** What scores. In int8 its agreement with float32 on a sample of the images is printed before it is used. */
async function openScorer(
  { terminal, signal }: CommandContext,
  session: ModelSession,
  judges: JudgeSources,
  asked: { readonly prompt: string; readonly paths: readonly string[]; readonly flags: ScoreFlags },
): Promise<{ readonly reward: Reward; readonly warnings: readonly string[] }> {
  const { prompt, paths, flags } = asked;
  if (flags.dtype !== "int8") return { reward: await unlessAborted(openJudges(session, judges), signal), warnings: [] };
  if (flags.reward !== undefined || judges.heldOut.length > 0) {
    throw new UsageError("--dtype int8: expected an ImageReward alone (--reward-model), got --reward or --held-out");
  }
  const path = judges.rewards[0]?.reward ?? judges.rewardModel;
  const measured = int8Agreement((each) => session.openReward(path, each), prompt, paths, { signal });
  const { agreement, reward } = await unlessAborted(measured, signal);
  const { line, warning } = describeAgreement(agreement);
  if (flags.quiet !== true) terminal.stderr.write(`${line}\n`);
  return { reward, warnings: warning === undefined ? [] : [warning] };
}

/** The best image first; where scores can be compared with reference pictures, `explained` says how. */
function scoreTable(
  results: readonly FileScore[],
  explained: readonly ExplainedScore[] | undefined,
  context: CommandContext,
): string {
  const { stdout, environment } = context.terminal;
  const style = palette(stdout, environment);
  const sorted = results
    .map((one, i) => ({ ...one, percent: explained?.[i]?.referencePercentile ?? null }))
    .sort((a, b) => (a.rank ?? results.length + 1) - (b.rank ?? results.length + 1));
  const details = detailColumns(results);
  const rows = sorted.map((one) => [
    one.rank === null ? "-" : String(one.rank),
    one.error !== undefined ? "unreadable" : one.score === null ? "none" : one.score.toFixed(4),
    ...(one.error === undefined ? details.cells(one) : details.titles.map(() => "")),
    ...(explained === undefined ? [] : [percentCell(one.percent)]),
    one.error === undefined ? shownPath(one.path) : printable(one.error),
  ]);
  return table(
    [
      { title: "rank", align: "right" },
      { title: "score", align: "right" },
      ...details.titles,
      ...(explained === undefined ? [] : [BETTER_THAN]),
      { title: "image" },
    ],
    rows,
    (text, row) => {
      if (row === "head") return style.dim(text);
      if (sorted[row]?.error !== undefined) return style.red(text);
      return sorted[row]?.rank === 1 ? style.bold(style.green(text)) : text;
    },
  );
}
