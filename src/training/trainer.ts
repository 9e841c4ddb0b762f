/** @file The training loop's engine: a gradient program and an optimizer, both in the device process. */

import { LaurelError } from "../errors.js";
import type { Device } from "../runtime/device.js";
import type { Tensor } from "../tensor/tensor.js";
import { createGradientProgram, type Objective } from "./gradient-program.js";
import { createOptimizer, dropBound, type OptimizerSettings, readBound, writeBound } from "./optimizer.js";

export type { Objective } from "./gradient-program.js";
export type { OptimizerSettings } from "./optimizer.js";

/** What one update gave. */
export interface UpdateResult {
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
}

/** Updates parameters in the device process. `dispose` frees its tensors there. */
export interface Trainer {
  /**
   * One update from the mean gradient over `batches`.
   * @throws LaurelError naming the first loss or gradient that is not finite; the parameters are then unchanged.
   */
  update(batches: readonly Readonly<Record<string, Tensor>>[], step: number, steps: number): Promise<UpdateResult>;
  /** Parameters, moments and averages, by bound name. */
  state(): Promise<Map<string, Tensor>>;
  /** Puts back what `state` gave. */
  restore(tensors: ReadonlyMap<string, Tensor>): Promise<void>;
  /** The parameters, or their moving average where there is one. */
  trained(): Promise<Map<string, Tensor>>;
  /** Frees the program and its tensors in the device process. */
  dispose(): Promise<void>;
}

/** Compiles the training program of `objective` and moves its parameters to the device process. */
export async function createTrainer(
  device: Device,
  name: string,
  objective: Objective,
  settings: OptimizerSettings,
): Promise<Trainer> {
  const gradients = await createGradientProgram(device, name, objective);
  const names = [...gradients.parameters.keys()];
  for (const key of names) await device.bind(key, objective.parameters.get(key)!);
  const optimizer = await createOptimizer(device, name, gradients.parameters, settings);
  const wanted = [...names, ...optimizer.slots];
  return {
    async update(batches, step, steps) {
      const sums: Record<string, number> = {};
      for (const [index, feeds] of batches.entries()) {
        const { loss, metrics } = await gradients.run(feeds, `${name}, step ${step}`);
        for (const [key, value] of Object.entries({ loss, ...metrics }))
          sums[key] = (sums[key] ?? 0) + value / batches.length;
        if (batches.length > 1) await optimizer.accumulate(index === 0);
      }
      const { gradientNorm, learningRate } = await optimizer.step(step, steps, batches.length);
      const { loss = Number.NaN, ...metrics } = sums;
      return { loss, metrics, gradientNorm, learningRate };
    },
    state: () => readBound(device, wanted),
    async restore(tensors) {
      const missing = wanted.filter((key) => !tensors.has(key));
      const unexpected = [...tensors.keys()].filter((key) => !wanted.includes(key));
      if (missing.length + unexpected.length > 0) {
        throw new LaurelError(
          `${name}: expected the checkpoint of this network, got one without [${missing.join(", ")}] and with [${unexpected.join(", ")}]`,
        );
      }
      await writeBound(device, tensors);
    },
    trained: () => optimizer.trained(),
    async dispose() {
      await optimizer.dispose();
      await dropBound(device, names);
      await gradients.dispose();
    },
  };
}
