/** @file Which pictures of a dataset count: pairs by how far their scores are apart, or the best of each prompt. */

import { UsageError } from "../../errors.js";
import type { DatasetImage, PreferenceRow } from "./rows.js";

/** Pairs of one dataset. */
const MAXIMUM_PAIRS = 1_000_000;

/** Which pairs are made. */
export interface PairOptions {
  /** Least difference of the scores, 0 or more; equal scores are never a pair. @default 0 */
  readonly margin?: number | undefined;
  /** Least difference of the ranks within the prompt. @default 1 */
  readonly rankMargin?: number | undefined;
  /** Pairs of one prompt, those with the largest difference of scores first. @default all */
  readonly maxPairsPerPrompt?: number | undefined;
}

/** Which pictures are taken. */
export interface ImageOptions {
  /** Least score. */
  readonly minScore?: number | undefined;
  /** Pictures of one prompt, the best first. @default all */
  readonly topK?: number | undefined;
}

/** A picture before its rank is known. */
export type UnrankedImage = Omit<DatasetImage, "rank">;

/** Pictures by what they show: equal `group`s compete. Each gets its rank; prompts stay in the order of their first picture, pictures best first. */
export function rankedGroups<Image extends UnrankedImage>(
  images: Iterable<Image>,
  group: (image: Image) => string,
): (Image & { readonly rank: number })[][] {
  const groups = new Map<string, Image[]>();
  for (const image of images) {
    const key = group(image);
    const members = groups.get(key);
    if (members === undefined) groups.set(key, [image]);
    else members.push(image);
  }
  return [...groups.values()].map((members) => {
    members.sort((a, b) => b.score - a.score);
    let rank = 1;
    return members.map((image, i) => {
      if (i > 0 && image.score < members[i - 1]!.score) rank = i + 1;
      return { ...image, rank };
    });
  });
}

/**
 * The pairs of each group. A group's are in the order of falling difference; equal differences in that of the better's, then the worse's rank.
 * @throws UsageError when there are more than a million
 */
export function preferencePairs(
  groups: readonly (readonly DatasetImage[])[],
  options: PairOptions = {},
): PreferenceRow[] {
  const pairs: PreferenceRow[] = [];
  for (const group of groups) {
    for (const pair of pairsOf(group, options)) pairs.push(pair);
    checkCount(pairs.length);
  }
  return pairs;
}

function pairsOf(group: readonly DatasetImage[], options: PairOptions): PreferenceRow[] {
  const { margin = 0, rankMargin = 1, maxPairsPerPrompt = Infinity } = options;
  let pairs: PreferenceRow[] = [];
  for (const [i, better] of group.entries()) {
    for (let j = i + 1; j < group.length; j++) {
      const worse = group[j]!;
      const apart = better.score > worse.score && better.score - worse.score >= margin;
      if (apart && worse.rank - better.rank >= rankMargin) pairs.push({ prompt: better.prompt, better, worse });
    }
    // only the widest are needed in the end
    if (pairs.length > 4 * maxPairsPerPrompt) pairs = widest(pairs, maxPairsPerPrompt);
    checkCount(pairs.length);
  }
  return widest(pairs, maxPairsPerPrompt);
}

function widest(pairs: PreferenceRow[], count: number): PreferenceRow[] {
  const difference = ({ better, worse }: PreferenceRow): number => better.score - worse.score;
  return pairs.sort((a, b) => difference(b) - difference(a)).slice(0, count);
}

function checkCount(count: number): void {
  if (count > MAXIMUM_PAIRS)
    throw new UsageError(`pairs: expected at most ${MAXIMUM_PAIRS}, got more: give a margin or a maximum for a prompt`);
}

/** The pictures of each group that score enough, the best first. */
export function selectedImages(
  groups: readonly (readonly DatasetImage[])[],
  options: ImageOptions = {},
): DatasetImage[] {
  const { minScore = -Infinity, topK = Infinity } = options;
  return groups.flatMap((group) => group.filter(({ score }) => score >= minScore).slice(0, topK));
}
