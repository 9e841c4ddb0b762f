/** @file A finished run as the command line shows it: a ranked table, a summary, or one JSON object. */

import { join } from "node:path";
import {
  betterThan,
  explainScores,
  type ReferenceScores,
  type Threshold,
  thresholdTable,
} from "../evaluation/explain.js";
import { runRefinement } from "../library/refine.js";
import {
  limitsOf,
  type MemberRecord,
  type ModelRecord,
  type RunConfig,
  type RunManifest,
  type RunStatus,
  type RunTimings,
} from "../pipeline/manifest.js";
import type { CandidateLine } from "../pipeline/candidate-record.js";
import { rankedCandidates } from "../pipeline/ranked.js";
import type { RunSnapshot } from "../pipeline/run-store.js";
import { stopInWords } from "../strategies/budget.js";
import { verdict } from "../strategies/refine/conclusion.js";
import type { ScoreDetails, SearchPlan } from "../strategies/contract.js";
import { printStrategy } from "../strategies/settings.js";
import { mean } from "../util/statistics.js";
import { detailColumns, detailsIn, heldOutInWords, sumInWords } from "./details.js";
import { BETTER_THAN, percentCell } from "./explained.js";
import { duration, palette, printable, shownPath, table, type Terminal } from "./output.js";

/** A candidate in the JSON output. */
export interface CandidateResult extends ScoreDetails {
  readonly index: number;
  readonly seed: number;
  /** Absolute. */
  readonly path: string;
  /** Null when the reward gave no finite number. */
  readonly score: number | null;
  /** 1 is best. */
  readonly rank: number;
  readonly kept: boolean;
  /** What it was drawn from: the run's prompt, or one that a search for prompts tried. */
  readonly prompt: string;
  /** How it came about. */
  readonly lineage: CandidateLine["lineage"];
  /** The seed a server says it used; null where it did not say, or seeds are Laurel's own. */
  readonly reportedSeed: number | null;
  /** The prompt as a server rewrote it before drawing; null where it did not. */
  readonly revisedPrompt: string | null;
  /** Where the picture comes from: a file, or the server that drew it; null where it was drawn here. */
  readonly source: string | null;
  /** Per cent of the run's other candidates that score less; null without a score, or without another. */
  readonly percentile: number | null;
  /** Per cent of the reference pictures that score less; null without a score or a reference. */
  readonly referencePercentile: number | null;
}

/** The JSON output of `generate`, `resume` and `rerun`. */
export interface RunResultJson {
  readonly schemaVersion: 1;
  readonly runId: string;
  /** Absolute. */
  readonly directory: string;
  readonly prompt: string;
  /** As `--strategy` takes it. */
  readonly strategy: string;
  /** What might be spent beside the candidates; null for what was not limited. */
  readonly budget: RunConfig["budget"];
  readonly status: RunStatus;
  /** Why the strategy ended before it had drawn all it might; null when it did not. */
  readonly stop: RunManifest["stop"];
  readonly backend: string;
  readonly reward: string;
  /** Best first. */
  readonly candidates: readonly CandidateResult[];
  /** The candidate of rank 1, or null when there is none. */
  readonly best: CandidateResult | null;
  /** The pictures that `referencePercentile` compares with, and where their scores come from; null where none are known for the reward. */
  readonly reference: Pick<ReferenceScores, "pictures" | "source"> | null;
  /** What round thresholds keep. */
  readonly thresholds: readonly Threshold[];
  /** Where prompts were searched for: the one that won, on fresh seeds, and the outcome in words. */
  readonly refinement?: { readonly winner: string; readonly improved: boolean; readonly verdict: string };
  /** Of an ensemble: how each reward enters the sum. */
  readonly members?: readonly MemberRecord[];
  /** Rewards that were asked and chose nothing. */
  readonly heldOut?: readonly ModelRecord[];
  /** How a search inside trajectories went on, and what halving found previews to be worth. */
  readonly plan?: SearchPlan;
  readonly warnings: readonly string[];
  readonly timings: RunTimings;
  /** Evaluations of the denoiser; guidance counts twice. */
  readonly evaluations: number;
}

/** The result of a run, its scores explained by `reference`; `plan` is that of a search inside trajectories. */
export function runResult(
  run: RunSnapshot,
  reference: ReferenceScores | undefined,
  plan: SearchPlan | undefined,
): RunResultJson {
  const { manifest } = run;
  const ranking = rankedCandidates(run);
  const scores = ranking.map(({ score }) => score);
  const explained = explainScores(scores, reference);
  const candidates = ranking.map((line, i) => ({
    index: line.index,
    seed: line.seed,
    path: join(run.directory, line.image),
    score: line.score,
    rank: line.rank,
    kept: line.kept,
    prompt: line.prompt,
    lineage: line.lineage,
    reportedSeed: line.reportedSeed,
    revisedPrompt: line.revisedPrompt,
    source: line.source,
    ...detailsIn(line),
    ...explained[i]!,
  }));
  return {
    schemaVersion: 1,
    runId: manifest.runId,
    directory: run.directory,
    prompt: manifest.config.prompt,
    strategy: printStrategy(manifest.config.strategy),
    budget: manifest.config.budget,
    status: manifest.status,
    stop: manifest.stop,
    backend: manifest.models.backend.name,
    reward: manifest.models.reward.name,
    candidates,
    best: candidates[0] ?? null,
    reference: reference === undefined ? null : { pictures: reference.pictures, source: reference.source },
    thresholds: thresholdTable(scores, reference),
    ...refinementIn(run),
    ...(plan === undefined ? {} : { plan }),
    ...(manifest.models.members === undefined ? {} : { members: manifest.models.members }),
    ...(manifest.models.heldOut === undefined ? {} : { heldOut: manifest.models.heldOut }),
    warnings: manifest.warnings,
    timings: manifest.timings,
    evaluations: manifest.evaluations,
  };
}

function refinementIn(run: RunSnapshot): Pick<RunResultJson, "refinement"> {
  const found = runRefinement(run);
  if (found === undefined) return {};
  const { winner } = found;
  return { refinement: { winner, improved: winner !== run.manifest.config.prompt, verdict: verdict(found) } };
}

/** The ranked table; the kept candidates are marked. */
export function resultTable(result: RunResultJson, terminal: Terminal): string {
  const style = palette(terminal.stdout, terminal.environment);
  const details = detailColumns(result.candidates);
  const rows = result.candidates.map((one) => [
    String(one.rank),
    one.score === null ? "none" : one.score.toFixed(4),
    ...details.cells(one),
    ...(result.reference === null ? [] : [percentCell(one.referencePercentile)]),
    String(one.seed),
    one.kept ? "kept" : "",
    ...(result.refinement === undefined ? [] : [printable(one.prompt)]),
    shownPath(one.path),
  ]);
  return table(
    [
      { title: "rank", align: "right" },
      { title: "score", align: "right" },
      ...details.titles,
      ...(result.reference === null ? [] : [BETTER_THAN]),
      { title: "seed", align: "right" },
      { title: "" },
      ...(result.refinement === undefined ? [] : [{ title: "prompt" }]),
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

/** Lines for stderr: what choosing brought, why it ended early if it did, and where the report is. */
export function summary(result: RunResultJson, report: string, terminal: Terminal): string {
  const style = palette(terminal.stderr, terminal.environment);
  const scores = result.candidates.flatMap((one) => one.score ?? []);
  const top = scores[0];
  const gain =
    top === undefined
      ? "no candidate has a score"
      : `best ${result.reward} ${style.bold(top.toFixed(3))}${inWords(result)}, average ${mean(scores).toFixed(3)} of ${result.candidates.length}`;
  const why = result.stop === null ? null : stopInWords(result.stop, limitsOf(result));
  const end = why === null ? "" : `ended early: ${why}\n`;
  const prompts = result.refinement === undefined ? "" : `${printable(result.refinement.verdict)}\n`;
  return `${gain}, in ${duration(result.timings.totalMs)}\n${end}${prompts}${sumInWords(result.members)}${heldOutInWords(result.candidates)}report: ${shownPath(report)}\n`;
}

/** Where the best candidate stands among the reference pictures. */
function inWords({ reference, best }: RunResultJson): string {
  const percent = best?.referencePercentile ?? null;
  return reference === null || percent === null ? "" : ` (${betterThan(reference, percent)})`;
}
