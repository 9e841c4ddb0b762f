/** @file The best of many that differ: good candidates, far apart from each other. */

import { mean } from "../util/statistics.js";
import { cosine } from "../rewards/image-embedder.js";
import type { Scored } from "./contract.js";
import { rank } from "./rank.js";

/** How far below the `keep` best a candidate may be, in standard deviations of all scores. */
const MARGIN = 0.75;

/** How {@link diverseBest} chooses. */
export interface DiverseOptions {
  /** How far below the mean score of the `keep` best a candidate may be, in standard deviations of all scores; 0 or more. @default 0.75 */
  readonly margin?: number | undefined;
}

/**
 * Candidates that may be kept, best first: those whose score is at most `margin` standard deviations of all scores below the mean of the `keep` best, and
 * at least these. Candidates without a score are not among them.
 */
export function goodEnough<T extends Pick<Scored, "index" | "score">>(
  candidates: readonly T[],
  keep: number,
  { margin = MARGIN }: DiverseOptions = {},
): T[] {
  const ranked = rank(candidates);
  const scores = ranked.flatMap(({ score }) => score ?? []);
  const center = mean(scores);
  const deviation = Math.sqrt(mean(scores.map((score) => (score - center) ** 2)));
  const least = mean(scores.slice(0, keep)) - margin * deviation;
  return ranked.slice(0, scores.length).filter(({ score }, place) => place < keep || score! >= least);
}

/**
 * Chooses `keep` of the candidates: the best, then again and again the one whose nearest among the chosen is farthest, by the cosine of their embeddings
 * (farthest-first traversal, Gonzalez 1985, doi 10.1016/0304-3975(85)90224-5), among those within the margin. Ties go to the better one.
 * @param embed vectors of the candidates it is given, in their order; asked once, and not at all where there is nothing to choose
 * @returns the chosen, best first
 */
export async function diverseBest<T extends Pick<Scored, "index" | "score">>(
  candidates: readonly T[],
  keep: number,
  embed: (candidates: readonly T[]) => Promise<readonly Float32Array[]>,
  options: DiverseOptions = {},
): Promise<T[]> {
  const good = goodEnough(candidates, keep, options);
  if (good.length <= keep || keep <= 1) return good.slice(0, keep);
  const chosen = farthestFirst(await embed(good), keep);
  return good.filter((_, place) => chosen.has(place));
}

/** Places of so many vectors: the first, then each the one least like its likest among those before it; the earlier of two alike. */
export function farthestFirst(vectors: readonly Float32Array[], count: number): ReadonlySet<number> {
  const chosen = new Set<number>(vectors.length === 0 || count < 1 ? [] : [0]);
  // of each, the cosine with the likest of those chosen
  const likeness = vectors.map((vector) => cosine(vector, vectors[0]!));
  while (chosen.size < Math.min(count, vectors.length)) {
    let next: number | undefined;
    for (let place = 0; place < vectors.length; place++)
      if (!chosen.has(place) && (next === undefined || likeness[place]! < likeness[next]!)) next = place;
    if (next === undefined) break;
    chosen.add(next);
    for (let place = 0; place < vectors.length; place++)
      likeness[place] = Math.max(likeness[place]!, cosine(vectors[place]!, vectors[next]!));
  }
  return chosen;
}
