/** @file The way back through steps of candidates: the denoiser's part by its gradient program, the sampler's on the host. */

import { UsageError } from "../errors.js";
import { pullBackStep, type StepCotangents } from "../samplers/pull-back.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import { keptMask } from "./init-state.js";
import type { LatentState } from "./latents.js";
import type { Runnable } from "./runnable.js";
import { denoiserFeeds } from "./step.js";
import type { Trajectory } from "./trajectory.js";

/** A step that was made. */
export interface TakenStep {
  readonly before: LatentState;
  readonly after: LatentState;
}

/**
 * From how a number changes with the states after a step to how it changes with those before. Noise that the step drew, and a picture that is put back,
 * count as given. Row by row: primitive products of several rows round differently, so a gradient would depend on those beside it.
 * @param denoiser the gradient program for the trajectory's size; undefined takes the denoiser's output as given too
 * @throws UsageError for states that do not follow each other, CancelledError when the signal aborts
 */
export async function pullBackSteps(
  denoiser: Runnable | undefined,
  trajectory: Trajectory,
  steps: readonly TakenStep[],
  cotangents: readonly StepCotangents[],
  signal: AbortSignal | undefined,
): Promise<StepCotangents[]> {
  const { sampler } = trajectory;
  const results: StepCotangents[] = [];
  for (const [i, { before, after }] of steps.entries()) {
    const coefficients = sampler.steps[before.stepIndex];
    if (coefficients === undefined || after.stepIndex !== before.stepIndex + 1)
      throw new UsageError(
        `pull back: expected a step's states before and after, got ${before.stepIndex} and ${after.stepIndex} of ${sampler.steps.length}`,
      );
    const given = cotangents[i]!;
    const repainted = keptMask(before, trajectory.init);
    const sample =
      repainted === undefined ? given.sample : given.sample.map((value, j) => value * repainted[j % repainted.length]!);
    const taken = pullBackStep(coefficients, after.clean, { sample, history: given.history });
    const through =
      denoiser === undefined ? undefined : await throughDenoiser(denoiser, trajectory, before, taken.output, signal);
    const total = through === undefined ? taken.sample : taken.sample.map((value, j) => value + through[j]!);
    results.push({ sample: total, history: taken.history });
  }
  return results;
}

/** How `sum(output * guided prediction)` changes with the state's latents. */
async function throughDenoiser(
  denoiser: Runnable,
  trajectory: Trajectory,
  state: LatentState,
  output: Float32Array,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const { sampler, guided, latentShape, request } = trajectory;
  const size = elementCount(latentShape);
  const scale = sampler.inputScales[state.stepIndex]!;
  const sum = new Float64Array(size);
  // negative + guidance * (positive - negative)
  const passes = guided ? [1 - request.guidance, request.guidance] : [1];
  for (const [pass, weight] of passes.entries()) {
    if (weight === 0) continue;
    throwIfAborted(signal);
    const feeds = denoiserFeeds(denoiser, trajectory, [{ state, pass }], trajectory.loraWeights[state.stepIndex] ?? 1);
    const upstream = float32([1, ...latentShape], output.map((value) => weight * value)); // prettier-ignore
    const outputs = await denoiser.run({ ...feeds, upstream }, { signal });
    const gradient = outputs["gradient"]!.data as Float32Array;
    // the sample comes first among the channels of a denoiser that reads more
    for (let i = 0; i < size; i++) sum[i]! += scale * gradient[i]!;
  }
  return sum;
}
