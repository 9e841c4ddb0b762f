/** @file What `generate`, `resume` and `rerun` share: a run is worked on, reported and printed, or left resumable. */

import type { ImageBackend } from "../../backends/contract.js";
import { CancelledError, EXIT } from "../../errors.js";
import type { Models } from "../../library/models.js";
import { finishRun } from "../../library/runs.js";
import type { RunConfig } from "../../pipeline/manifest.js";
import type { Run } from "../../pipeline/run-store.js";
import { referenceScores } from "../../pipeline/score-references.js";
import { readPlan } from "../../pipeline/search-trace.js";
import { unlessAborted } from "../../util/abort.js";
import type { CommandContext, ModelReading, ModelSession } from "../context.js";
import { printJson, shownPath, warningLine } from "../output.js";
import { type JudgeSources, openJudges } from "../judges.js";
import { openProgress } from "../progress.js";
import { resultTable, runResult, type RunResultJson, summary } from "../result.js";
import { useSession } from "../use-session.js";
import type { RunFlags } from "./resume.entry.js";

/** Both models of a run, in a session. */
export interface SessionModels extends Models {
  readonly session: ModelSession;
  /** Milliseconds it took to open them. */
  readonly loadMs: number;
}

/** What a run's models are opened from. */
export type ModelSources = GeneratorSources & JudgeSources;

/** What a run's pictures are drawn with; the dtype is not recorded, since it changes no picture. */
export type GeneratorSources = Pick<RunConfig, "backend" | "model" | "variant" | "prediction"> &
  Pick<ModelReading, "dtype">;

/** Opens the models a run names, runs `work`, and ends the device whatever happens. Stops at once when the signal aborts. */
export async function withModels<T>(
  context: CommandContext,
  sources: ModelSources,
  work: (models: SessionModels) => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const { rewardModel, rewards, heldOut } = sources;
  return useSession(context, async (session) => {
    const opening = Promise.all([
      openGenerator(context, session, sources),
      openJudges(session, { rewardModel, rewards, heldOut }),
    ]);
    const [backend, reward] = await unlessAborted(opening, context.signal);
    try {
      return await work({ session, backend, reward, loadMs: performance.now() - startedAt });
    } finally {
      // the local backend goes with its device; connections to a server would keep the process
      if (sources.backend !== null) await backend.dispose();
    }
  });
}

/** What draws: the configured backend, or the local one over a folder. */
export async function openGenerator(
  { signal }: CommandContext,
  session: ModelSession,
  { backend, model, variant, prediction, dtype }: GeneratorSources,
): Promise<ImageBackend> {
  if (backend === null) {
    const reading = { variant: variant ?? undefined, prediction: prediction ?? undefined, dtype };
    return session.openBackend(model, reading);
  }
  const { openConfigured } = await import("../../backends/open.js");
  return openConfigured(backend, { local: (directory) => session.openBackend(directory), signal });
}

/** Works on `run` until it is finished, writes its pages, and returns what is to be printed. Closes the run. */
export async function workOn(
  context: CommandContext,
  run: Run,
  models: SessionModels,
  flags: RunFlags,
): Promise<{ readonly result: RunResultJson; readonly report: string }> {
  const { terminal, signal } = context;
  const progress = await openProgress(terminal, { quiet: flags.quiet, unit: "candidates" });
  const warn = (message: string): void => progress.log(warningLine(terminal, `warning: ${message}`));
  try {
    run.manifest.warnings.forEach(warn);
    const finished = await finishRun(run, models, {
      signal,
      loadMs: models.loadMs,
      programMs: () => models.session.programMs(),
      onProgress: ({ best, ...state }) =>
        progress.update({ ...state, note: best === null ? undefined : `best ${best.toFixed(3)}` }),
      onWarning: warn,
    });
    progress.stop();
    const reference = await referenceScores(finished.manifest.models.reward);
    const plan = await readPlan(finished.directory);
    return { result: runResult(finished, reference, plan), report: finished.report };
  } catch (error) {
    progress.stop();
    const kept = `${run.size} of ${run.manifest.config.count} candidates`;
    const resume = `laurel resume ${shownPath(run.directory)}`;
    if (error instanceof CancelledError) {
      throw new CancelledError(`cancelled with ${kept}; finish it with: ${resume}`, { cause: error });
    }
    progress.log(warningLine(terminal, `the run stopped with ${kept}; go on with: ${resume}`));
    throw error;
  }
}

/** Prints a run's result: JSON or the table on stdout, the summary on stderr. Returns the exit code. */
export function printResult(context: CommandContext, result: RunResultJson, report: string, flags: RunFlags): number {
  const { terminal } = context;
  if (flags.json === true) printJson(terminal, result);
  else terminal.stdout.write(resultTable(result, terminal));
  if (flags.quiet !== true && flags.json !== true) terminal.stderr.write(summary(result, report, terminal));
  return EXIT.ok;
}
