/** @file What may be spent, as text. */

import { UsageError } from "../errors.js";
import type { Budget, StopReason } from "./contract.js";

/** What ends a strategy beside its candidates. */
export type Limits = Pick<Budget, "evaluations" | "seconds" | "until">;

const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/**
 * Reads `64` (candidates), `evals=1280` (evaluations of the denoiser) or `60s`, `5m`, `1h` (time).
 * @param where what the text stands for, in messages
 * @throws UsageError for other texts
 */
export function parseBudget(
  text: string,
  where = "budget",
): Partial<Pick<Budget, "candidates" | "evaluations" | "seconds">> {
  const [, digits] = /^(?:evals=)?(\d{1,15})$/.exec(text) ?? [];
  const whole = Number(digits);
  if (whole >= 1) return text.startsWith("evals=") ? { evaluations: whole } : { candidates: whole };
  const [, number, unit = ""] = /^(\d+\.?\d*|\.\d+)([smh])$/.exec(text) ?? [];
  const seconds = Number(number) * (SECONDS[unit] ?? 0);
  if (seconds > 0) return { seconds };
  throw new UsageError(
    `${where}: expected a number of candidates (64), of evaluations (evals=1280) or a time (60s, 5m, 1h), got ${JSON.stringify(text)}`,
  );
}

/** Limits in words: `1280 evaluations, 60 seconds, until 1 with 0.5 or more`; null where there is none. */
export function limitsInWords({ evaluations, seconds, until }: Limits): string | null {
  const said = [
    ...(evaluations === undefined ? [] : [`${evaluations} evaluations`]),
    ...(seconds === undefined ? [] : [`${seconds} seconds`]),
    ...(until === undefined ? [] : [`until ${until.images} with ${until.score} or more`]),
  ];
  return said.length === 0 ? null : said.join(", ");
}

/** Why a strategy ended before its plan did, in words; null for one that did all of it. */
export function stopInWords(reason: StopReason, { evaluations, seconds, until }: Limits): string | null {
  switch (reason) {
    case "complete":
      return null;
    case "evaluations":
      return `its ${evaluations ?? 0} evaluations are spent`;
    case "seconds":
      return `its ${seconds ?? 0} seconds are over`;
    case "reached":
      return `its goal is reached: ${until?.images ?? 0} with ${until?.score ?? 0} or more`;
    default:
      return reason satisfies never;
  }
}
