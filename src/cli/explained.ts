/** @file Scores explained in tables and words. */

import {
  betterThan,
  type ExplainedScore,
  percentText,
  type ReferenceScores,
  type Threshold,
} from "../evaluation/explain.js";
import { table } from "./output.js";

/** The column of {@link percentCell}. */
export const BETTER_THAN = { title: "better than", align: "right" } as const;

/** A percentile in a table. */
export function percentCell(percent: number | null): string {
  return percent === null ? "" : percentText(percent);
}

/** Line for stderr: where the best stands among the reference pictures; empty where nothing has a score. */
export function bestInWords(explained: readonly ExplainedScore[], reference: ReferenceScores): string {
  const percents = explained.flatMap(({ referencePercentile }) => referencePercentile ?? []);
  if (percents.length === 0) return "";
  return `the best is ${betterThan(reference, Math.max(...percents))}\n`;
}

/** A row for each threshold. */
export function thresholdsTable(thresholds: readonly Threshold[]): string {
  if (thresholds.length === 0) return "there are no two different scores for a threshold to stand between\n";
  const compared = thresholds.some(({ referenceShare }) => referenceShare !== null);
  return table(
    [
      { title: "threshold", align: "right" },
      { title: "keeps", align: "right" },
      { title: "share", align: "right" },
      ...(compared ? [{ title: "of the reference", align: "right" } as const] : []),
    ],
    thresholds.map(({ threshold, kept, share, referenceShare }) => [
      String(threshold),
      String(kept),
      `${Math.round(100 * share)} %`,
      ...(compared ? [percentCell(referenceShare === null ? null : 100 * referenceShare)] : []),
    ]),
  );
}
