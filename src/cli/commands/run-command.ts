/** @file What `generate`, `resume` and `rerun` share: a run is worked on, reported and printed, or left resumable. */

import { CancelledError, EXIT } from "../../errors.js";
import type { Models } from "../../library/models.js";
import { finishRun } from "../../library/runs.js";
import type { RunConfig } from "../../pipeline/manifest.js";
import type { Run } from "../../pipeline/run-store.js";
import { unlessAborted } from "../../util/abort.js";
import type { CommandContext, ModelSession } from "../context.js";
import { palette, printable, shownPath } from "../output.js";
import { openProgress } from "../progress.js";
import { resultTable, runResult, type RunResultJson, summary } from "../result.js";
import type { RunFlags } from "./resume.entry.js";

/** Both models of a run, in a session. */
export interface SessionModels extends Models {
  readonly session: ModelSession;
  /** Milliseconds it took to open them. */
  readonly loadMs: number;
}

/** Opens the models a run names, runs `work`, and ends the device whatever happens. Stops at once when the signal aborts. */
export async function withModels<T>(
  context: CommandContext,
  paths: Pick<RunConfig, "model" | "rewardModel">,
  work: (models: SessionModels) => Promise<T>,
): Promise<T> {
  const startedAt = performance.now();
  const session = await unlessAborted(context.openSession(), context.signal);
  try {
    const opening = Promise.all([session.openBackend(paths.model), session.openReward(paths.rewardModel)]);
    const [backend, reward] = await unlessAborted(opening, context.signal);
    return await work({ session, backend, reward, loadMs: performance.now() - startedAt });
  } finally {
    // A cancelled command does not wait for the device: the process ends, and the device with it.
    const closing = session.close();
    if (!context.signal.aborted) await closing;
    else closing.catch(() => undefined);
  }
}

/** Works on `run` until it is finished, writes its pages, and returns what is to be printed. Closes the run. */
export async function workOn(
  context: CommandContext,
  run: Run,
  models: SessionModels,
  flags: RunFlags,
): Promise<{ readonly result: RunResultJson; readonly report: string }> {
  const { terminal, signal } = context;
  const style = palette(terminal.stderr, terminal.environment);
  const progress = await openProgress(terminal, flags.quiet ?? false);
  try {
    for (const message of run.manifest.warnings) progress.log(style.yellow(`warning: ${printable(message)}`));
    const finished = await finishRun(run, models, {
      signal,
      loadMs: models.loadMs,
      programMs: () => models.session.programMs(),
      onProgress: (state) => progress.update(state),
      onWarning: (message) => progress.log(style.yellow(`warning: ${printable(message)}`)),
    });
    progress.stop();
    return { result: runResult(finished), report: finished.report };
  } catch (error) {
    progress.stop();
    const kept = `${run.size} of ${run.manifest.config.count} candidates`;
    const resume = `laurel resume ${shownPath(run.directory)}`;
    if (error instanceof CancelledError) {
      throw new CancelledError(`cancelled with ${kept}; finish it with: ${resume}`, { cause: error });
    }
    progress.log(style.yellow(`the run stopped with ${kept}; go on with: ${resume}`));
    throw error;
  }
}

/** Prints a run's result: JSON or the table on stdout, the summary on stderr. Returns the exit code. */
export function printResult(context: CommandContext, result: RunResultJson, report: string, flags: RunFlags): number {
  const { stdout, stderr } = context.terminal;
  stdout.write(flags.json === true ? `${JSON.stringify(result, null, 2)}\n` : resultTable(result, context.terminal));
  if (flags.quiet !== true && flags.json !== true) stderr.write(summary(result, report, context.terminal));
  return EXIT.ok;
}
