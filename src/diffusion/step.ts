/** @file One step of several candidates: one run of the denoiser, guidance, the sampler's update. */

import { UsageError } from "../errors.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { keepUnmasked } from "./init-state.js";
import { guide } from "./guidance.js";
import { scaleFeeds } from "./lora.js";
import { type LatentState, nextState } from "./latents.js";
import type { Runnable } from "./runnable.js";
import type { Trajectory } from "./trajectory.js";

/**
 * One step of each state; states may be at different steps. All take one run, but where LoRAs are annealed one for each step that is among them: a
 * scale is that of the whole network.
 * @param denoiser the program for the trajectory's size
 * @throws UsageError for a state at its end, CancelledError when the signal aborts
 */
export async function stepStates(
  denoiser: Runnable,
  trajectory: Trajectory,
  states: readonly LatentState[],
  signal: AbortSignal | undefined,
): Promise<LatentState[]> {
  const groups = new Map<number, LatentState[]>();
  for (const state of states) {
    const weight = trajectory.loraWeights[state.stepIndex] ?? 1;
    groups.set(weight, [...(groups.get(weight) ?? []), state]);
  }
  const next = new Map<LatentState, LatentState>();
  for (const [weight, group] of groups) {
    const stepped = await stepTogether(denoiser, trajectory, group, weight, signal);
    group.forEach((state, i) => next.set(state, stepped[i]!));
  }
  return states.map((state) => next.get(state)!);
}

async function stepTogether(
  denoiser: Runnable,
  trajectory: Trajectory,
  states: readonly LatentState[],
  weight: number,
  signal: AbortSignal | undefined,
): Promise<LatentState[]> {
  const { sampler, guided, latentShape, request } = trajectory;
  const size = elementCount(latentShape);
  const passes = guided ? 2 : 1;
  const rows = Array.from({ length: passes }, (_, pass) => states.map((state) => ({ state, pass }))).flat();
  const outputs = await denoiser.run(denoiserFeeds(denoiser, trajectory, rows, weight), { signal });
  const prediction = outputs["prediction"]!.data as Float32Array;
  return states.map((state, i) => {
    const rowOf = (index: number): Float32Array => prediction.subarray(index * size, (index + 1) * size);
    const output = guided ? guide(rowOf(i), rowOf(states.length + i), request.guidance) : rowOf(i);
    return keepUnmasked(nextState(state, sampler, output, passes), sampler, trajectory.init);
  });
}

/** A state before a step, in one of its passes: where there is guidance 0 without the prompt, 1 with it. */
export interface DenoiserRow {
  readonly state: LatentState;
  readonly pass: number;
}

/**
 * What a denoiser reads of rows.
 * @param weight of the LoRAs' scales
 * @throws UsageError for a state at its end
 */
export function denoiserFeeds(
  { inputs }: Pick<Runnable, "inputs">,
  trajectory: Trajectory,
  rows: readonly DenoiserRow[],
  weight: number,
): Record<string, Tensor> {
  const { sampler, latentShape, conditioning, guidanceEmbedding } = trajectory;
  const [, height, width] = latentShape;
  const size = elementCount(latentShape);
  const beside = trajectory.init?.repaint?.masked === undefined ? undefined : trajectory.init.repaint.mask;
  const inputSize = beside === undefined ? size : 2 * size + beside.length;
  const sample = new Float32Array(rows.length * inputSize);
  const timestep = new Float32Array(rows.length);
  rows.forEach(({ state }, at) => {
    const t = sampler.timesteps[state.stepIndex];
    if (t === undefined)
      throw new UsageError(`step: expected a state before its end, got step ${state.stepIndex} of seed ${state.seed}`);
    const scale = sampler.inputScales[state.stepIndex]!;
    for (let j = 0; j < size; j++) sample[at * inputSize + j] = state.latents[j]! * scale;
    if (beside !== undefined) {
      sample.set(beside, at * inputSize + size);
      sample.set(state.init!.masked!, at * inputSize + size + beside.length);
    }
    timestep[at] = t;
  });
  return {
    sample: float32([rows.length, inputSize / (height * width), height, width], sample),
    timestep: float32([rows.length], timestep),
    row: { dtype: "int64", shape: [rows.length], data: BigInt64Array.from(rows, ({ pass }) => BigInt(pass)) },
    conditioning,
    ...trajectory.added,
    ...scaleFeeds(trajectory.loras.unet, inputs, weight),
    ...(guidanceEmbedding === undefined ? {} : { guidance: repeatRows(guidanceEmbedding, rows.length) }),
  };
}

/** float32 [rows, width], every row the same. */
function repeatRows(values: Float32Array, rows: number): Tensor<"float32"> {
  const data = new Float32Array(rows * values.length);
  for (let i = 0; i < rows; i++) data.set(values, i * values.length);
  return float32([rows, values.length], data);
}
