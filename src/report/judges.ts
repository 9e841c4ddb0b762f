/** @file What the members of an ensemble and held-out rewards say of a run's candidates. */

import type { RunManifest } from "../pipeline/manifest.js";
import type { RankedCandidate } from "../pipeline/ranked.js";
import { mean } from "../util/statistics.js";
import { format } from "./distribution.js";
import { html, type Html } from "./html.js";

/** A row for each reward beside the one that ranks; null where one reward alone judged. */
export function judges(
  { models: { members = [], heldOut = [] } }: Pick<RunManifest, "models">,
  ranking: readonly RankedCandidate[],
): Html | null {
  const rows = [
    ...members.map((one) => ({
      name: one.name,
      part: "scores" as const,
      role: `enters as ${one.weight} × (score − ${one.mean}) / ${one.std}: ${one.source}`,
    })),
    ...heldOut.map(({ name }) => ({ name, part: "heldOut" as const, role: "held out: chose nothing" })),
  ];
  if (rows.length === 0) return null;
  const average = (lines: readonly RankedCandidate[], { name, part }: (typeof rows)[number]): string => {
    const scores = lines.flatMap((line) => line[part]?.[name] ?? []);
    return scores.length === 0 ? "none" : format(mean(scores));
  };
  const kept = ranking.filter((line) => line.kept);
  return html`<h2>Rewards</h2>
    <table class="sweep">
      <thead>
        <tr>
          <th>reward</th>
          <th>best candidate</th>
          <th>kept</th>
          <th>all</th>
          <th></th>
        </tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr>
              <td>${row.name}</td>
              <td>${average(ranking.slice(0, 1), row)}</td>
              <td>${average(kept, row)}</td>
              <td>${average(ranking, row)}</td>
              <td>${row.role}</td>
            </tr>`,
        )}
      </tbody>
    </table>`;
}
