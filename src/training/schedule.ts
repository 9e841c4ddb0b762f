/** @file Learning-rate schedules and the warm-up of the moving average: pure functions of the step. */

import { UsageError } from "../errors.js";

/** How the learning rate goes over a run. */
export interface Schedule {
  readonly type: "cosine" | "constant";
  /** The highest learning rate. */
  readonly learningRate: number;
  /** Steps of linear warm-up from 0. @default 0 */
  readonly warmupSteps?: number;
  /** "constant": the share of all steps, at the end, over which the rate falls linearly to the floor. @default 0 */
  readonly coolDown?: number;
  /** The rate at the end, as a share of the highest. @default 0 */
  readonly floor?: number;
}

/**
 * The learning rate of update `step` (0-based) out of `steps`.
 *
 *     warm-up:   lr (step + 1) / warmup
 *     cosine:    lr (floor + (1 - floor) (1 + cos(pi t)) / 2),  t = (step - warmup) / (steps - warmup)
 *     constant:  lr, and over the last coolDown * steps linearly down to lr * floor
 *
 * @throws UsageError when `steps` is not positive.
 */
export function learningRateAt(schedule: Schedule, step: number, steps: number): number {
  if (!(steps > 0)) throw new UsageError(`schedule: expected a positive number of steps, got ${steps}`);
  const warmup = schedule.warmupSteps ?? 0;
  const floor = schedule.floor ?? 0;
  if (step < warmup) return (schedule.learningRate * (step + 1)) / warmup;
  const left = Math.max(0, steps - step);
  switch (schedule.type) {
    case "cosine": {
      const t = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
      return schedule.learningRate * (floor + ((1 - floor) * (1 + Math.cos(Math.PI * t))) / 2);
    }
    case "constant": {
      const length = (schedule.coolDown ?? 0) * steps;
      const share = length > 0 ? Math.min(1, left / length) : 1;
      return schedule.learningRate * (floor + (1 - floor) * share);
    }
    default:
      return schedule.type satisfies never;
  }
}

/** The average's decay at update `step` (0-based): `min(decay, (1 + step) / (10 + step))`, so that early values are forgotten. */
export function averageDecayAt(decay: number, step: number): number {
  return Math.min(decay, (1 + step) / (10 + step));
}
