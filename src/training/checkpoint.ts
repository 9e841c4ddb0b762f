/** @file Training checkpoints: everything a run needs to go on bit for bit, in one safetensors file written atomically. */

import { z } from "zod";
import { ModelError } from "../errors.js";
import type { GeneratorState } from "../tensor/random.js";
import type { Tensor } from "../tensor/tensor.js";
import { openWeights } from "../weights/open.js";
import { saveSafetensors } from "../weights/safetensors.js";

const stateSchema = z.strictObject({
  format: z.literal(1),
  /** What is trained; a checkpoint of another task is refused. */
  task: z.string(),
  /** Updates done. */
  step: z.int().nonnegative(),
  /** Updates the schedule was made for. */
  steps: z.int().positive(),
  /** Samples drawn: where the data goes on. */
  cursor: z.int().nonnegative(),
  /** Seconds of training so far. */
  seconds: z.number().nonnegative(),
  generator: z.strictObject({ words: z.string(), index: z.int(), cachedNormal: z.number().optional() }),
});

/** Where a run stands, beside its tensors. */
export interface CheckpointState {
  readonly task: string;
  readonly step: number;
  readonly steps: number;
  readonly cursor: number;
  readonly seconds: number;
  readonly generator: GeneratorState;
}

/** Writes a checkpoint in place of the last one; a reader sees the old or the new, never a part. */
export async function saveCheckpoint(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  state: CheckpointState,
): Promise<void> {
  const { words, ...rest } = state.generator;
  const bytes = Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  const text = JSON.stringify({ format: 1, ...state, generator: { words: bytes.toString("base64"), ...rest } });
  await saveSafetensors(path, tensors, { laurel_training: text });
}

/** Reads a checkpoint. @throws ModelError when it is not one, or of another task. */
export async function loadCheckpoint(
  path: string,
  task: string,
): Promise<{ tensors: Map<string, Tensor>; state: CheckpointState }> {
  const source = await openWeights(path);
  const text = source.metadata.get("laurel_training");
  if (text === undefined) throw new ModelError(`${path}: expected a training checkpoint, got ${source.description}`);
  const parsed = stateSchema.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new ModelError(`${path}: expected a training checkpoint of format 1, got ${parsed.error.message}`);
  const { generator, task: stored, step, steps, cursor, seconds } = parsed.data;
  if (stored !== task) throw new ModelError(`${path}: expected a checkpoint of "${task}", got one of "${stored}"`);
  const bytes = Buffer.from(generator.words, "base64");
  const words = new Uint32Array(bytes.byteLength / 4);
  new Uint8Array(words.buffer).set(bytes);
  const { index, cachedNormal } = generator;
  const tensors = new Map<string, Tensor>();
  for (const name of source.entries.keys()) tensors.set(name, await source.read(name));
  return {
    tensors,
    state: {
      task,
      step,
      steps,
      cursor,
      seconds,
      generator: { words, index, ...(cachedNormal === undefined ? {} : { cachedNormal }) },
    },
  };
}
