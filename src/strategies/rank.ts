/** @file The one order candidates are ranked in. */

import type { Scored } from "./contract.js";

/** Best first: higher score, then lower index; candidates without a finite score come last. Does not change `scored`. */
export function rank<T extends Pick<Scored, "index" | "score">>(scored: Iterable<T>): T[] {
  return [...scored].sort((a, b) => {
    if (a.score === null || b.score === null) {
      return Number(a.score === null) - Number(b.score === null) || a.index - b.index;
    }
    return b.score - a.score || a.index - b.index;
  });
}

/** The score as ranked and stored: null unless it is a finite number. */
export function finiteOrNull(score: number | undefined): number | null {
  return score !== undefined && Number.isFinite(score) ? score : null;
}
