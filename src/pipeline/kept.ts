/** @file Which candidates of a run or of an item are kept: the best, or good ones that differ. */

import { join } from "node:path";
import { embedderOf, embedPictures } from "../rewards/image-embedder.js";
import type { Reward } from "../rewards/contract.js";
import { diverseBest } from "../strategies/diverse.js";
import { rank } from "../strategies/rank.js";
import { readPicture } from "./inputs.js";

/** Pictures that are read and embedded at once. */
const TOGETHER = 16;

/** A stored candidate, as far as choosing goes. */
interface Stored {
  readonly index: number;
  readonly score: number | null;
  /** Path of the PNG, relative to the run's folder. */
  readonly image: string;
}

/** How many are kept, and by what. */
export interface KeepRule {
  readonly keep: number;
  /** Candidates that are good and differ, rather than the best. */
  readonly diverse: boolean;
}

/**
 * The candidates that are kept, best first; none without a score. Those that differ are told apart by the reward's own embedding of pictures, or by that of a
 * reward that watches it, or by reduced pictures.
 * @param directory of the run
 * @throws UsageError when a picture cannot be read, CancelledError when the signal aborts
 */
export async function keptCandidates<T extends Stored>(
  directory: string,
  candidates: readonly T[],
  { keep, diverse }: KeepRule,
  reward: Reward,
  signal?: AbortSignal,
): Promise<T[]> {
  if (!diverse) return rank(candidates.filter(({ score }) => score !== null)).slice(0, keep);
  const embedder = embedderOf(reward);
  return diverseBest(candidates, keep, async (good) => {
    const vectors: Float32Array[] = [];
    for (let at = 0; at < good.length; at += TOGETHER) {
      const pictures = await Promise.all(good.slice(at, at + TOGETHER).map(({ image }) => readPicture(join(directory, image)))); // prettier-ignore
      vectors.push(...(await embedPictures(pictures, embedder, signal === undefined ? {} : { signal })));
    }
    return vectors;
  });
}
