/** @file A finished run as the command line shows it: a ranked table, a summary, or one JSON object. */

import { join } from "node:path";
import type { RunTimings } from "../pipeline/manifest.js";
import { rankedCandidates } from "../pipeline/ranked.js";
import type { RunSnapshot } from "../pipeline/run-store.js";
import { mean } from "../util/statistics.js";
import { duration, palette, shownPath, table, type Terminal } from "./output.js";

/** A candidate in the JSON output. */
export interface CandidateResult {
  readonly index: number;
  readonly seed: number;
  /** Absolute. */
  readonly path: string;
  /** Null when the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is best. */
  readonly rank: number;
  readonly kept: boolean;
  /** The seed a server says it used; null where it did not say, or seeds are Laurel's own. */
  readonly reportedSeed: number | null;
  /** The prompt as a server rewrote it before drawing; null where it did not. */
  readonly revisedPrompt: string | null;
  /** Where the picture comes from: a file, or the server that drew it; null where it was drawn here. */
  readonly source: string | null;
}

/** The JSON output of `generate`, `resume` and `rerun`. */
export interface RunResultJson {
  readonly schemaVersion: 1;
  readonly runId: string;
  /** Absolute. */
  readonly directory: string;
  readonly prompt: string;
  readonly backend: string;
  readonly reward: string;
  /** Best first. */
  readonly candidates: readonly CandidateResult[];
  /** The candidate of rank 1, or null when there is none. */
  readonly best: CandidateResult | null;
  readonly warnings: readonly string[];
  readonly timings: RunTimings;
  /** Evaluations of the denoiser; guidance counts twice. */
  readonly evaluations: number;
}

/** The result of a run. */
export function runResult(run: RunSnapshot): RunResultJson {
  const { manifest } = run;
  const candidates = rankedCandidates(run).map((line) => ({
    index: line.index,
    seed: line.seed,
    path: join(run.directory, line.image),
    score: line.score,
    rank: line.rank,
    kept: line.kept,
    reportedSeed: line.reportedSeed,
    revisedPrompt: line.revisedPrompt,
    source: line.source,
  }));
  return {
    schemaVersion: 1,
    runId: manifest.runId,
    directory: run.directory,
    prompt: manifest.config.prompt,
    backend: manifest.models.backend.name,
    reward: manifest.models.reward.name,
    candidates,
    best: candidates[0] ?? null,
    warnings: manifest.warnings,
    timings: manifest.timings,
    evaluations: manifest.evaluations,
  };
}

/** The ranked table; the kept candidates are marked. */
export function resultTable(result: RunResultJson, terminal: Terminal): string {
  const style = palette(terminal.stdout, terminal.environment);
  const rows = result.candidates.map((one) => [
    String(one.rank),
    one.score === null ? "none" : one.score.toFixed(4),
    String(one.seed),
    one.kept ? "kept" : "",
    shownPath(one.path),
  ]);
  return table(
    [
      { title: "rank", align: "right" },
      { title: "score", align: "right" },
      { title: "seed", align: "right" },
      { title: "" },
      { title: "image" },
    ],
    rows,
    (text, row) => {
      if (row === "head") return style.dim(text);
      if (row === 0) return style.bold(style.green(text));
      return result.candidates[row]?.kept === true ? text : style.dim(text);
    },
  );
}

/** Two lines for stderr: what choosing brought, and where the report is. */
export function summary(result: RunResultJson, report: string, terminal: Terminal): string {
  const style = palette(terminal.stderr, terminal.environment);
  const scores = result.candidates.flatMap((one) => one.score ?? []);
  const top = scores[0];
  const gain =
    top === undefined
      ? "no candidate has a score"
      : `best ${result.reward} ${style.bold(top.toFixed(3))}, average ${mean(scores).toFixed(3)} of ${result.candidates.length}`;
  return `${gain}, in ${duration(result.timings.totalMs)}\nreport: ${shownPath(report)}\n`;
}
