/** @file Runs a strategy and stores what it finds, from the first candidate or from where a killed run ended. */

import { join } from "node:path";
import type { ImageBackend, ImageRequest } from "../backends/contract.js";
import { CancelledError } from "../errors.js";
import type { Reward } from "../rewards/contract.js";
import type { Finished, StopReason, Strategy } from "../strategies/contract.js";
import { rank } from "../strategies/rank.js";
import { unlessAborted } from "../util/abort.js";
import type { CandidateLine } from "./candidate-record.js";
import { readInputs, readPicture, type RunInputs } from "./inputs.js";
import { keptCandidates } from "./kept.js";
import { limitsOf, type RunConfig, type RunStatus, type RunTimings } from "./manifest.js";
import type { Run } from "./run-store.js";
import { isSearchEvent } from "./search-trace.js";
import { withTimings } from "./timed.js";

/** What a run works with. */
export interface GenerateRunOptions {
  readonly backend: ImageBackend;
  readonly reward: Reward;
  readonly strategy: Strategy;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds spent opening the models, for the timings. @default 0 */
  readonly loadMs?: number | undefined;
  /** Milliseconds spent inside programs so far, for the timings. @default () => 0 */
  readonly programMs?: (() => number) | undefined;
  readonly onProgress?: ((progress: RunProgress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** How far a run is. */
export interface RunProgress {
  /** Candidates stored. */
  readonly finished: number;
  /** Candidates there will be at most; where something else is limited, as many as that will suffice for at the rate so far. */
  readonly total: number;
  /** Candidates the group in the making stands for so far, a fraction. */
  readonly underway: number;
  /** Best score so far, or null. */
  readonly best: number | null;
}

/** How a run ended. */
export interface RunResult {
  readonly status: RunStatus;
  /** Best first. */
  readonly ranking: readonly CandidateLine[];
}

/**
 * Runs `strategy` over what `run` still lacks, and leaves the manifest with its final status: `complete`, or `stopped` when the budget ran out (a time,
 * that of all sessions),
 * `cancelled` when the signal aborted, `failed` on an error. The last two throw. The run stays locked; the caller closes it.
 */
export async function generateRun(run: Run, options: GenerateRunOptions): Promise<RunResult> {
  const { signal, strategy } = options;
  const { config, timings: before } = run.manifest;
  const clock = { generateMs: 0, scoreMs: 0, writeMs: 0 };
  const startedAt = performance.now() - (options.loadMs ?? 0);
  const timings = (): RunTimings => ({
    loadMs: round(before.loadMs + (options.loadMs ?? 0)),
    generateMs: round(before.generateMs + clock.generateMs),
    scoreMs: round(before.scoreMs + clock.scoreMs),
    writeMs: round(before.writeMs + clock.writeMs),
    programMs: round(before.programMs + (options.programMs?.() ?? 0)),
    totalMs: round(before.totalMs + performance.now() - startedAt),
  });
  const finish = (status: RunStatus, error: string | null, reason: StopReason = "complete"): Promise<void> =>
    run.update({
      status,
      error,
      stop: reason === "complete" ? null : reason,
      finishedAt: new Date().toISOString(),
      timings: timings(),
      ranking: rank(run.candidates).map((line) => line.index),
    });
  let best = rank(run.candidates)[0]?.score ?? null;
  const limits = limitsOf(config);
  const workedMs = before.totalMs - before.loadMs;
  const seconds = limits.seconds === undefined ? undefined : limits.seconds - workedMs / 1000;
  const begunAt = performance.now();
  const known = run.size;
  const report = (underway: number): void => {
    const drawn = run.size + underway;
    const evaluated = evaluationsOf(run) / Math.max(1, run.size);
    const rate = (drawn - known) / (performance.now() - begunAt);
    const possible = [
      config.count,
      ...(limits.evaluations === undefined || evaluated === 0 ? [] : [Math.ceil(limits.evaluations / evaluated)]),
      ...(seconds === undefined || !(rate > 0) ? [] : [Math.ceil(known + rate * seconds * 1000)]),
    ];
    options.onProgress?.({ finished: run.size, total: Math.max(run.size, Math.min(...possible)), underway, best });
  };

  await run.update({
    status: "running",
    sessions: run.manifest.sessions + 1,
    finishedAt: null,
    error: null,
    stop: null,
    kept: null,
  });
  // taken up again after its time was over, with all it drew
  if (seconds !== undefined && seconds <= 0) {
    await finish("stopped", null, "seconds");
    return { status: "stopped", ranking: rank(run.candidates) };
  }
  try {
    await run.beginSearch();
    const events = strategy.run({
      ...withTimings(options.backend, options.reward, clock),
      request: imageRequest(config, await readInputs(run.directory, run.manifest.inputs)),
      budget: { ...limits, seconds, candidates: config.count },
      finished: run.candidates.map((line) => finishedOf(run.directory, line)),
      signal,
      onProgress: ({ step, steps, candidates }) => report((candidates * step) / steps),
    });
    report(0);
    let reason: StopReason = "complete";
    for (;;) {
      // A native call that cannot be stopped must not hold up a cancellation.
      const { value: event, done } = await unlessAborted(events.next(), signal);
      if (done === true) break;
      if (event.type === "warning") {
        if (!run.manifest.warnings.includes(event.message)) {
          await run.update({ warnings: [...run.manifest.warnings, event.message] });
        }
        options.onWarning?.(event.message);
      } else if (event.type === "scored") {
        const writing = performance.now();
        await run.append(event.candidate, event.score, event.details);
        clock.writeMs += performance.now() - writing;
        if (event.score !== null) best = Math.max(best ?? -Infinity, event.score);
        report(0);
      } else if (isSearchEvent(event)) {
        await run.keepSearch(event);
      } else if (event.type === "done") {
        reason = event.reason;
      }
    }
    const status = reason === "complete" || reason === "reached" ? "complete" : "stopped";
    const kept = await keptCandidates(run.directory, run.candidates, config, options.reward, signal);
    await run.update({ evaluations: evaluationsOf(run), kept: kept.map(({ index }) => index) });
    await finish(status, null, reason);
    return { status, ranking: rank(run.candidates) };
  } catch (error) {
    const cancelled = error instanceof CancelledError || signal?.aborted === true;
    await finish(cancelled ? "cancelled" : "failed", cancelled ? null : (error as Error).message);
    throw cancelled && !(error instanceof CancelledError)
      ? new CancelledError("generation was cancelled", { cause: error })
      : error;
  }
}

function evaluationsOf({ candidates }: Run): number {
  return candidates.reduce((sum, line) => sum + line.evaluations, 0);
}

/** A stored candidate as strategies know it. */
function finishedOf(directory: string, line: CandidateLine): Finished {
  const { index, seed, score, prompt, lineage, evaluations, image } = line;
  return { index, seed, score, prompt, lineage, evaluations, picture: () => readPicture(join(directory, image)) };
}

/** The request a run's config stands for, with the pictures from its folder. */
export function imageRequest(config: RunConfig, { init, mask }: RunInputs): ImageRequest {
  return {
    prompt: config.prompt,
    negativePrompt: config.negativePrompt ?? undefined,
    promptSyntax: config.promptSyntax,
    clipSkip: config.clipSkip ?? undefined,
    embeddings: config.embeddings,
    // a backend without LoRAs is asked for none
    loras: config.loras.length === 0 ? undefined : config.loras,
    loraAnneal: config.loraAnneal ?? undefined,
    seed: config.seed,
    count: config.count,
    steps: config.steps ?? undefined,
    guidance: config.guidance ?? undefined,
    sampler: config.sampler ?? undefined,
    width: config.width ?? undefined,
    height: config.height ?? undefined,
    init,
    mask,
    strength: config.strength ?? undefined,
    batch: config.batch,
  };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
