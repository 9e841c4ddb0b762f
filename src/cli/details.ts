/** @file What the members of an ensemble and held-out rewards say, in tables and words. */

import type { MemberRecord } from "../pipeline/manifest.js";
import type { ScoreDetails } from "../strategies/contract.js";
import { mean } from "../util/statistics.js";

/** Names of all rewards that some candidate has scores of, members first; held-out ones are marked. */
function columns(details: readonly ScoreDetails[]): { readonly part: "scores" | "heldOut"; readonly name: string }[] {
  return (["scores", "heldOut"] as const).flatMap((part) =>
    [...new Set(details.flatMap((one) => Object.keys(one[part] ?? {})))].map((name) => ({ part, name })),
  );
}

/** A column for each reward beside the one that ranks, and the cells of each row. */
export function detailColumns(details: readonly ScoreDetails[]): {
  readonly titles: readonly { readonly title: string; readonly align: "right" }[];
  readonly cells: (one: ScoreDetails) => string[];
} {
  const found = columns(details);
  return {
    titles: found.map(({ part, name }) => ({ title: part === "heldOut" ? `(${name})` : name, align: "right" })),
    cells: (one) => found.map(({ part, name }) => one[part]?.[name]?.toFixed(4) ?? "none"),
  };
}

/** A line for stderr: how an ensemble's score comes about; empty for one reward alone. */
export function sumInWords(members: readonly MemberRecord[] = []): string {
  if (members.length === 0) return "";
  const parts = members.map(({ name, weight, mean: middle, std }) => {
    const scaled = middle === 0 && std === 1 ? name : `(${name} - ${middle}) / ${std}`;
    return weight === 1 ? scaled : `${weight} * ${scaled}`;
  });
  return `score = ${parts.join(" + ")}\n`;
}

/** A line for stderr on each held-out reward; empty where there is none. @param details of the candidates, the best first */
export function heldOutInWords(details: readonly ScoreDetails[]): string {
  return columns(details)
    .filter(({ part }) => part === "heldOut")
    .map(({ name }) => {
      const scores = details.flatMap(({ heldOut }) => heldOut?.[name] ?? []);
      const best = details[0]?.heldOut?.[name] ?? null;
      if (best === null || scores.length === 0) return `held out ${name}: no score of the best\n`;
      return `held out ${name}: the best has ${best.toFixed(3)}, the average is ${mean(scores).toFixed(3)}\n`;
    })
    .join("");
}

/** The details of something that may have more; nothing where it has none. */
export function detailsIn({ scores, heldOut }: ScoreDetails): ScoreDetails {
  return {
    ...(scores === undefined ? {} : { scores }),
    ...(heldOut === undefined ? {} : { heldOut }),
  };
}
