/** @file Whether ImageReward gives here the scores that were published for four pictures. */

import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Reward } from "../rewards/contract.js";
import { sha256File } from "../util/files.js";
import { scoreFiles } from "./score-files.js";

/** Scores that were published for pictures of one prompt. */
export interface PublishedScores {
  readonly prompt: string;
  readonly pictures: readonly { readonly name: string; readonly sha256: string; readonly score: number }[];
}

/**
 * The example of ImageReward's README with the scores that it prints, for the files in `assets/images`.
 * Source: https://github.com/THUDM/ImageReward at c1392c6.
 */
export const PUBLISHED_IMAGE_REWARD: PublishedScores = {
  prompt: "a painting of an ocean with clouds and birds, day time, low depth field effect",
  pictures: [
    {
      name: "1.webp",
      sha256: "a5fcd126763da8b3fe2a9e620fc1ba03d215d20de36c77bf6770a540a9bc972d",
      score: 0.5811622738838196,
    },
    {
      name: "2.webp",
      sha256: "dc13919a49a37987d19c8be3ba0c1ef2941570f820f90fb66ac91a9a9db24082",
      score: 0.2745276093482971,
    },
    {
      name: "3.webp",
      sha256: "ee859bac167e6a04cbcde63454757b6fc7d9b8704429c15725ca8c4accf176e3",
      score: -1.4131819009780884,
    },
    {
      name: "4.webp",
      sha256: "84faf59d59d9ca7ab298c9acb957d727365ae104768ac1a1ec55ab96be68aaf9",
      score: -2.029569625854492,
    },
  ],
};

/** How far a score may be from the published one: other kernels round otherwise, another picture or model is off by far more. */
const TOLERANCE = 1e-3;

/** A picture's score, there and here. */
export interface VerifiedPicture {
  /** Absolute. */
  readonly path: string;
  readonly published: number;
  /** Null when the picture could not be read or the reward gave no finite number. */
  readonly score: number | null;
  /** `score` - `published`. */
  readonly difference: number | null;
  /** What is wrong with it; null where the picture is the published one and the scores agree. */
  readonly problem: string | null;
}

/** What {@link verifyScores} finds. */
export interface Verification {
  readonly prompt: string;
  readonly pictures: readonly VerifiedPicture[];
  /** Largest difference that a score may have. */
  readonly tolerance: number;
  /** Whether all pictures are without a problem. */
  readonly verified: boolean;
  readonly warnings: readonly string[];
}

/** The published pictures that `folder` lacks, by name. */
export async function missingPictures(folder: string, published = PUBLISHED_IMAGE_REWARD): Promise<string[]> {
  const missing: string[] = [];
  for (const { name } of published.pictures) {
    if ((await stat(join(folder, name)).catch(() => undefined))?.isFile() !== true) missing.push(name);
  }
  return missing;
}

/**
 * Scores the published pictures, which lie in `folder`, and compares.
 * @throws CancelledError when `signal` aborts
 */
export async function verifyScores(
  reward: Reward,
  folder: string,
  { published = PUBLISHED_IMAGE_REWARD, signal }: { published?: PublishedScores; signal?: AbortSignal } = {},
): Promise<Verification> {
  const { prompt, pictures } = published;
  const paths = pictures.map(({ name }) => resolve(folder, name));
  const options = signal === undefined ? {} : { signal };
  const { results, warnings } = await scoreFiles(reward, prompt, paths, options);
  const verified: VerifiedPicture[] = [];
  for (const [i, { score: expected, sha256 }] of pictures.entries()) {
    const { path, score, error } = results[i]!;
    const difference = score === null ? null : score - expected;
    const same = error === undefined && (await sha256File(path)) === sha256;
    const problem = error ?? (same ? problemOf(difference) : "not the file that was published");
    verified.push({ path, published: expected, score, difference, problem });
  }
  const sound = verified.every(({ problem }) => problem === null);
  return { prompt, pictures: verified, tolerance: TOLERANCE, verified: sound, warnings };
}

function problemOf(difference: number | null): string | null {
  if (difference === null) return "no score";
  return Math.abs(difference) <= TOLERANCE ? null : `differs by more than ${TOLERANCE}`;
}
