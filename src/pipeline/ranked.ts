/** @file A run's candidates in the order people look at them. */

import { rank } from "../strategies/rank.js";
import type { CandidateLine } from "./candidate-record.js";
import type { RunSnapshot } from "./run-store.js";

/** A candidate with its place in the ranking. */
export interface RankedCandidate extends CandidateLine {
  /** 1 is best. */
  readonly rank: number;
  /** One of the `keep` best; a candidate without a score is never kept. */
  readonly kept: boolean;
}

/** Best first. */
export function rankedCandidates(run: RunSnapshot): RankedCandidate[] {
  const { keep } = run.manifest.config;
  return rank(run.candidates).map((line, i) => ({ ...line, rank: i + 1, kept: i < keep && line.score !== null }));
}
