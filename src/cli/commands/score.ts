/** @file `laurel score`: the ranking ImageReward's `inference_rank` gives, for image files. */

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { EXIT, LaurelError } from "../../errors.js";
import { decodeImage } from "../../image/decode.js";
import type { SourceImage } from "../../image/types.js";
import { rank } from "../../strategies/rank.js";
import { unlessAborted } from "../../util/abort.js";
import type { Action, CommandContext } from "../context.js";
import { findImages } from "../find-images.js";
import { palette, printable, shownPath, table } from "../output.js";
import type { ScoreFlags } from "./score.entry.js";

/** Images decoded and scored together. */
const BATCH = 8;

/** One image in the JSON output. */
export interface ScoreResult {
  /** Absolute. */
  readonly path: string;
  /** Null when the image could not be read or the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is best; null when the image could not be read. */
  readonly rank: number | null;
  /** Why the image could not be read. */
  readonly error?: string;
}

/** Results are in the order of the arguments; the table shows the best first and unreadable images last. */
export const score: Action<ScoreFlags> = async (context, [prompt = "", ...patterns], flags) => {
  const paths = await findImages(patterns);
  const { results, warnings, reward } = await scoreFiles(context, prompt, paths, flags);
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

async function scoreFiles(
  context: CommandContext,
  prompt: string,
  paths: readonly string[],
  flags: ScoreFlags,
): Promise<{ results: ScoreResult[]; warnings: string[]; reward: string }> {
  const { signal } = context;
  const session = await unlessAborted(context.openSession(), signal);
  try {
    const { model } = await unlessAborted(
      session.openReward(flags.rewardModel === undefined ? null : resolve(flags.rewardModel)),
      signal,
    );
    const warnings = new Set<string>();
    const results: { path: string; index: number; score: number | null; error?: string }[] = [];
    for (let start = 0; start < paths.length; start += BATCH) {
      const decoded = await Promise.all(paths.slice(start, start + BATCH).map(readImage));
      const images = decoded.flatMap((one) => ("image" in one ? one.image : []));
      const scored =
        images.length === 0 ? undefined : await unlessAborted(model.score(prompt, images, { signal }), signal);
      for (const message of [...images.flatMap((image) => image.warnings), ...(scored?.warnings ?? [])])
        warnings.add(message);
      let position = 0;
      for (const [offset, one] of decoded.entries()) {
        const path = paths[start + offset] as string;
        if ("error" in one) {
          results.push({ path, index: start + offset, score: null, error: one.error });
          continue;
        }
        const value = scored?.scores[position++] ?? Number.NaN;
        if (!Number.isFinite(value)) warnings.add(`${path}: expected a finite score, got ${value}; it ranks last`);
        results.push({ path, index: start + offset, score: Number.isFinite(value) ? value : null });
      }
    }
    const ranks = new Map(rank(results.filter((one) => one.error === undefined)).map((one, i) => [one.index, i + 1]));
    return {
      results: results.map(({ path, index, score: value, error }) => ({
        path,
        score: value,
        rank: ranks.get(index) ?? null,
        ...(error === undefined ? {} : { error }),
      })),
      warnings: [...warnings],
      reward: model.name,
    };
  } finally {
    const closing = session.close();
    if (!signal.aborted) await closing;
    else closing.catch(() => undefined);
  }
}

async function readImage(path: string): Promise<{ readonly image: SourceImage } | { readonly error: string }> {
  try {
    return { image: await decodeImage(await readFile(path), path) };
  } catch (error) {
    if (error instanceof LaurelError) return { error: error.message };
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    return { error: `${path}: expected an image file, got ${code === "ENOENT" ? "no such file" : code}` };
  }
}

function scoreTable(results: readonly ScoreResult[], context: CommandContext): string {
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
