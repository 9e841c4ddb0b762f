/** @file A whole training run: data, updates, log, checkpoints, resume. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LaurelError } from "../errors.js";
import type { Device } from "../runtime/device.js";
import { TorchGenerator } from "../tensor/random.js";
import type { Tensor } from "../tensor/tensor.js";
import { loadCheckpoint, saveCheckpoint } from "./checkpoint.js";
import type { StatusStream } from "./progress.js";
import { createLog } from "./progress.js";
import type { Objective, OptimizerSettings, Trainer } from "./trainer.js";
import { createTrainer } from "./trainer.js";

/** Steps after which a run limited by minutes knows its speed and fixes its number of steps. */
const PACE_STEPS = 10;

/** Something to be trained: a network with a loss, its data and its settings. */
export interface Recipe {
  /** Names the run in logs and checkpoints. */
  readonly task: string;
  readonly objective: Objective;
  readonly optimizer: OptimizerSettings;
  /** Updates in all. */
  readonly steps: number;
  /** Samples a batch. */
  readonly batchSize: number;
  /** Batches an update. @default 1 */
  readonly accumulate?: number;
  /** Seed of the random numbers the batches use. */
  readonly seed: number;
  /**
   * The feeds of one batch. All randomness comes from `cursor` (the number of samples drawn before) and `generator`, whose state is saved.
   */
  batch(cursor: number, generator: TorchGenerator): Promise<Record<string, Tensor>> | Record<string, Tensor>;
}

/** Where a run keeps its files, and how it goes. */
export interface TrainOptions {
  /** Folder for `checkpoint.safetensors` and `log.jsonl`; without one nothing is written. */
  readonly directory?: string | undefined;
  /** Go on from the folder's checkpoint. @default false */
  readonly resume?: boolean | undefined;
  /** Fit the number of steps to this time, measured on the first steps. @default the recipe's steps */
  readonly minutes?: number | undefined;
  /** Stop after this many updates of this call; the schedule is not changed. */
  readonly stopAfter?: number | undefined;
  /** Updates between checkpoints. @default 500 */
  readonly checkpointEvery?: number | undefined;
  /** Updates between log lines. @default 10 */
  readonly logEvery?: number | undefined;
  /** Stops the run after the current update, with a checkpoint. */
  readonly signal?: AbortSignal | undefined;
  /** Where progress is shown. @default nowhere */
  readonly stream?: StatusStream | undefined;
}

/** How a run ended. */
export interface TrainingResult {
  readonly step: number;
  readonly steps: number;
  /** False when the run was stopped before its last step. */
  readonly finished: boolean;
  /** Mean loss of the first and of the last tenth of this call's updates (at least one each). */
  readonly firstLoss: number;
  readonly lastLoss: number;
  readonly seconds: number;
  /** The trained parameters (their moving average where the recipe has one). */
  readonly parameters: Map<string, Tensor>;
}

/** Trains. @throws LaurelError when a loss or gradient is not finite, after saving nothing of it: the last checkpoint stays good. */
export async function train(device: Device, recipe: Recipe, options: TrainOptions = {}): Promise<TrainingResult> {
  const { directory, signal } = options;
  if (directory !== undefined) mkdirSync(directory, { recursive: true });
  const checkpoint = directory === undefined ? undefined : join(directory, "checkpoint.safetensors");
  if (options.resume && (checkpoint === undefined || !existsSync(checkpoint))) {
    throw new LaurelError(`resume: expected a checkpoint at ${checkpoint ?? "a given directory"}, got none`);
  }
  const trainer = await createTrainer(device, recipe.task, recipe.objective, recipe.optimizer);
  try {
    const run = await begin(recipe, trainer, options.resume ? checkpoint : undefined, directory);
    const log = createLog(directory === undefined ? undefined : join(directory, "log.jsonl"), options.stream);
    const losses: number[] = [];
    const started = performance.now();
    const elapsed = (): number => (performance.now() - started) / 1000;
    const save = async (): Promise<void> => {
      if (checkpoint === undefined) return;
      const { step, steps, cursor, generator } = run;
      await saveCheckpoint(checkpoint, await trainer.state(), {
        task: recipe.task,
        step,
        steps,
        cursor,
        seconds: run.seconds + elapsed(),
        generator: generator.state(),
      });
    };
    const wasAt = run.step;
    let paceStart = started;
    while (run.step < run.steps && run.step - wasAt < (options.stopAfter ?? Infinity) && !signal?.aborted) {
      const batches: Record<string, Tensor>[] = [];
      for (let i = 0; i < (recipe.accumulate ?? 1); i++) {
        batches.push(await recipe.batch(run.cursor, run.generator));
        run.cursor += recipe.batchSize;
      }
      const result = await trainer.update(batches, run.step, run.steps);
      run.step += 1;
      losses.push(result.loss);
      const done = run.step - wasAt;
      if (done === 1) paceStart = performance.now();
      const rate = done > 1 ? ((done - 1) * 1000) / (performance.now() - paceStart) : 0;
      if (options.minutes !== undefined && wasAt === 0 && done === PACE_STEPS) {
        run.steps = Math.max(run.step, Math.round(options.minutes * 60 * rate));
      }
      log.show({ label: recipe.task, step: run.step, steps: run.steps, loss: result.loss, rate });
      if (run.step % (options.logEvery ?? 10) === 0 || run.step === run.steps) {
        log.record({
          step: run.step,
          loss: result.loss,
          ...result.metrics,
          learningRate: result.learningRate,
          gradientNorm: result.gradientNorm,
          samples: run.cursor,
          seconds: Number((run.seconds + elapsed()).toFixed(2)),
        });
      }
      if (run.step % (options.checkpointEvery ?? 500) === 0) await save();
    }
    log.end();
    await save();
    const tenth = Math.max(1, Math.floor(losses.length / 10));
    return {
      step: run.step,
      steps: run.steps,
      finished: run.step >= run.steps,
      firstLoss: mean(losses.slice(0, tenth)),
      lastLoss: mean(losses.slice(-tenth)),
      seconds: run.seconds + elapsed(),
      parameters: await trainer.trained(),
    };
  } finally {
    // A device process that died has nothing left to free, and its death is the error to report.
    await trainer.dispose().catch(() => undefined);
  }
}

interface Run {
  step: number;
  steps: number;
  cursor: number;
  readonly seconds: number;
  readonly generator: TorchGenerator;
}

/** A fresh run, or the one a checkpoint describes; lines the log got after the checkpoint are cut off, so that none appears twice. */
async function begin(
  recipe: Recipe,
  trainer: Trainer,
  checkpoint: string | undefined,
  directory: string | undefined,
): Promise<Run> {
  const logFile = directory === undefined ? undefined : join(directory, "log.jsonl");
  if (checkpoint === undefined) {
    if (logFile !== undefined) writeFileSync(logFile, "");
    return { step: 0, steps: recipe.steps, cursor: 0, seconds: 0, generator: new TorchGenerator(recipe.seed) };
  }
  const { tensors, state } = await loadCheckpoint(checkpoint, recipe.task);
  await trainer.restore(tensors);
  if (logFile !== undefined && existsSync(logFile)) trimLog(logFile, state.step);
  const { step, steps, cursor, seconds } = state;
  return { step, steps, cursor, seconds, generator: TorchGenerator.restore(state.generator) };
}

function trimLog(file: string, step: number): void {
  const kept = readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => {
      try {
        return (JSON.parse(line) as { step: number }).step <= step;
      } catch {
        return false; // the empty end, or a line cut short by a kill
      }
    });
  writeFileSync(file, kept.map((line) => `${line}\n`).join(""));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
