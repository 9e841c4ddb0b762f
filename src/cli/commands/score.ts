/** @file `laurel score`: the ranking ImageReward's `inference_rank` gives, for image files. */

import { resolve } from "node:path";
import { EXIT } from "../../errors.js";
import { findImages } from "../../library/find-images.js";
import { type FileScore, type FileScores, scoreFiles } from "../../library/score-files.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { palette, printable, shownPath, table } from "../output.js";
import type { ScoreFlags } from "./score.entry.js";

/** Results are in the order of the arguments; the table shows the best first and unreadable images last. */
export const score: Action<ScoreFlags> = async (context, [prompt = "", ...patterns], flags) => {
  const paths = await findImages(patterns);
  const { results, warnings, reward } = await scoreWith(context, prompt, paths, flags);
  const { stdout, stderr, environment } = context.terminal;
  const style = palette(stderr, environment);
  for (const message of warnings) stderr.write(`${style.yellow(`warning: ${printable(message)}`)}\n`);
  if (flags.json === true) {
    stdout.write(`${JSON.stringify({ schemaVersion: 1, prompt, reward, results, warnings }, null, 2)}\n`);
  } else {
    stdout.write(scoreTable(results, context));
  }
  const unreadable = results.filter((result) => result.error !== undefined).length;
  if (unreadable === 0) return EXIT.ok;
  if (flags.quiet !== true)
    stderr.write(`${style.yellow(`${unreadable} of ${results.length} images could not be read`)}\n`);
  return EXIT.partial;
};

async function scoreWith(
  context: CommandContext,
  prompt: string,
  paths: readonly string[],
  flags: ScoreFlags,
): Promise<FileScores & { readonly reward: string }> {
  const { signal } = context;
  const session = await unlessAborted(context.openSession(), signal);
  try {
    const path = flags.rewardModel === undefined ? null : resolve(flags.rewardModel);
    const reward = await unlessAborted(session.openReward(path), signal);
    return { ...(await scoreFiles(reward, prompt, paths, { signal })), reward: reward.name };
  } finally {
    const closing = session.close();
    if (!signal.aborted) await closing;
    else closing.catch(() => undefined);
  }
}

function scoreTable(results: readonly FileScore[], context: CommandContext): string {
  const { stdout, environment } = context.terminal;
  const style = palette(stdout, environment);
  const sorted = [...results].sort((a, b) => (a.rank ?? results.length + 1) - (b.rank ?? results.length + 1));
  const rows = sorted.map((one) => [
    one.rank === null ? "-" : String(one.rank),
    one.error !== undefined ? "unreadable" : one.score === null ? "none" : one.score.toFixed(4),
    one.error === undefined ? shownPath(one.path) : printable(one.error),
  ]);
  return table(
    [{ title: "rank", align: "right" }, { title: "score", align: "right" }, { title: "image" }],
    rows,
    (text, row) => {
      if (row === "head") return style.dim(text);
      if (sorted[row]?.error !== undefined) return style.red(text);
      return sorted[row]?.rank === 1 ? style.bold(style.green(text)) : text;
    },
  );
}
