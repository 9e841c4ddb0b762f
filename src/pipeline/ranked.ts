/** @file A run's candidates in the order people look at them. */

import { rank } from "../strategies/rank.js";
import type { CandidateLine } from "./candidate-record.js";
import type { RunSnapshot } from "./run-store.js";

/** A candidate with its place in the ranking. */
export interface RankedCandidate extends CandidateLine {
  /** 1 is best. */
  readonly rank: number;
  /** One of the `keep` best, or of those that differ; a candidate without a score is never kept. */
  readonly kept: boolean;
}

/** Best first. */
export function rankedCandidates(run: RunSnapshot): RankedCandidate[] {
  const { config, kept } = run.manifest;
  const isKept = (index: number, place: number): boolean => kept?.includes(index) ?? place < config.keep;
  return rank(run.candidates).map((line, i) => ({
    ...line,
    rank: i + 1,
    kept: line.score !== null && isKept(line.index, i),
  }));
}
