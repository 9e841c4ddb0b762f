/** @file What scores mean, on the pages of runs. */

import { betterThan, explainScores, percentText, type ReferenceScores, thresholdTable } from "../evaluation/explain.js";
import { type Html, html } from "./html.js";
import { table } from "./parts.js";

/** Where the best score stands among the reference pictures; null without one of them. */
export function bestInWords(best: number | null | undefined, reference: ReferenceScores | undefined): Html | null {
  if (best === null || best === undefined || reference === undefined) return null;
  const percent = explainScores([best], reference)[0]!.referencePercentile!;
  return html`<p class="note">The best candidate is ${betterThan(reference, percent)} (${reference.source}).</p>`;
}

/** What thresholds keep, folded away; null where no two scores differ. */
export function keptByThreshold(
  scores: readonly (number | null)[],
  reference: ReferenceScores | undefined,
): Html | null {
  const rows = thresholdTable(scores, reference).map(({ threshold, kept, share, referenceShare }) => {
    const compared = referenceShare === null ? "" : `; ${percentText(100 * referenceShare)} of the reference`;
    return [`at least ${threshold}`, `${kept}, ${Math.round(100 * share)} %${compared}`] as const;
  });
  if (rows.length === 0) return null;
  return html`<details class="note">
    <summary>What a threshold keeps</summary>
    ${table("Scores", rows)}
  </details>`;
}
