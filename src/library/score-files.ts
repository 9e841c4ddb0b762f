/** @file Image files scored and ranked against a prompt, as ImageReward's `inference_rank` ranks them. */

import { resolve } from "node:path";
import { LaurelError } from "../errors.js";
import { decodeImageFile } from "../image/decode.js";
import type { SourceImage } from "../image/types.js";
import type { Reward, RewardOptions } from "../rewards/contract.js";
import type { ScoreDetails } from "../strategies/contract.js";
import { detailsOf } from "../strategies/drawing.js";
import { rank } from "../strategies/rank.js";
import { unlessAborted } from "../util/abort.js";

/** Images decoded and scored together. */
const BATCH = 8;

/** One image. */
export interface FileScore extends ScoreDetails {
  /** Absolute. */
  readonly path: string;
  /** Higher is better; null when the image could not be read or the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is best; null when the image could not be read. */
  readonly rank: number | null;
  /** Why the image could not be read. */
  readonly error?: string;
}

/** What {@link scoreFiles} gives. */
export interface FileScores {
  /** In the order of the files. */
  readonly results: readonly FileScore[];
  /** What deviates from what was asked, each once. */
  readonly warnings: readonly string[];
}

/** What a caller may pass beside files and prompt. */
export interface ScoreFilesOptions extends RewardOptions {
  /** Called for each file once its score is known, in the order of the files. */
  readonly onScored?: ((file: Omit<FileScore, "rank">) => void) | undefined;
}

/**
 * Scores image files (PNG, JPEG, WebP, GIF, TIFF, AVIF) against a prompt. A file that cannot be read is a result with an error. For folders
 * and patterns, see {@link findImages}.
 * @throws CancelledError when `signal` aborts, BackendError when the device died
 */
export async function scoreFiles(
  reward: Reward,
  prompt: string,
  files: readonly string[],
  { signal, onScored }: ScoreFilesOptions = {},
): Promise<FileScores> {
  const paths = files.map((file) => resolve(file));
  const warnings = new Set<string>();
  const results: (Omit<FileScore, "rank"> & { readonly index: number })[] = [];
  const add = (index: number, file: Omit<FileScore, "rank">): void => {
    results.push({ ...file, index });
    onScored?.(file);
  };
  const options = signal === undefined ? {} : { signal };
  for (let start = 0; start < paths.length; start += BATCH) {
    const decoded = await Promise.all(paths.slice(start, start + BATCH).map(readImage));
    const images = decoded.flatMap((one) => ("image" in one ? one.image : []));
    const scored = images.length === 0 ? undefined : await unlessAborted(reward.score(prompt, images, options), signal);
    for (const message of [...images.flatMap((image) => image.warnings), ...(scored?.warnings ?? [])])
      warnings.add(message);
    let position = 0;
    for (const [offset, one] of decoded.entries()) {
      const index = start + offset;
      const path = paths[index]!;
      if ("error" in one) {
        add(index, { path, score: null, error: one.error });
        continue;
      }
      const details = scored === undefined ? undefined : detailsOf(scored, position);
      const value = scored?.scores[position++] ?? Number.NaN;
      if (!Number.isFinite(value)) warnings.add(`${path}: expected a finite score, got ${value}; it ranks last`);
      add(index, { path, score: Number.isFinite(value) ? value : null, ...details });
    }
  }
  const ranking = rank(results.filter((one) => one.error === undefined));
  const ranks = new Map(ranking.map((one, i) => [one.index, i + 1]));
  return {
    results: results.map(({ path, index, score, error, scores, heldOut }) => ({
      path,
      score,
      rank: ranks.get(index) ?? null,
      ...(scores === undefined ? {} : { scores }),
      ...(heldOut === undefined ? {} : { heldOut }),
      ...(error === undefined ? {} : { error }),
    })),
    warnings: [...warnings],
  };
}

async function readImage(path: string): Promise<{ readonly image: SourceImage } | { readonly error: string }> {
  try {
    return { image: await decodeImageFile(path) };
  } catch (error) {
    if (error instanceof LaurelError) return { error: error.message };
    throw error;
  }
}
