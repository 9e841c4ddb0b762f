/** @file AdamW on parameters that live in the device process: moments, clipping, the moving average. */

import { LaurelError } from "../errors.js";
import type { Device } from "../runtime/device.js";
import type { Tensor } from "../tensor/tensor.js";
import type { KernelRequest, StepResult } from "./optimizer-kernel.js";
import { slot } from "./optimizer-kernel.js";
import type { Schedule } from "./schedule.js";
import { averageDecayAt, learningRateAt } from "./schedule.js";

const KERNEL = new URL("./optimizer-kernel.js", import.meta.url);

/** How parameters are updated. */
export interface OptimizerSettings {
  readonly schedule: Schedule;
  /** @default 0.9 */
  readonly beta1?: number;
  /** @default 0.999 */
  readonly beta2?: number;
  /** @default 1e-8 */
  readonly epsilon?: number;
  /** Decoupled weight decay of parameters with two or more dimensions. @default 0 */
  readonly weightDecay?: number;
  /** Largest global norm of the gradient. @default no clipping */
  readonly clipNorm?: number;
  /** Decay of the exponential moving average of the parameters. @default no average */
  readonly averageDecay?: number | undefined;
}

/** What one update did. */
export interface OptimizerStep {
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
}

/** Updates bound tensors of a device from the gradients that a program left beside them. */
export interface Optimizer {
  /** Adds the last run's gradients to the sum; `first` starts a new one. */
  accumulate(first: boolean): Promise<void>;
  /**
   * One update, number `step` (0-based) of `steps`, from the last run's gradients, or where `accumulated` > 1 from the mean of as many.
   * @throws LaurelError naming the first parameter whose gradient is not finite; nothing is changed then
   */
  step(step: number, steps: number, accumulated?: number): Promise<OptimizerStep>;
  /** Parameters and averages change places: what is bound as a parameter is then its moving average. Nothing without an average. */
  swapAverage(): Promise<void>;
  /** Moments and averages, by bound name. */
  state(): Promise<Map<string, Tensor>>;
  /** Names of what `state` gives. */
  readonly slots: readonly string[];
  /** The parameters, or their moving average where there is one. */
  trained(): Promise<Map<string, Tensor>>;
  /** Frees the moments, averages and sums. */
  dispose(): Promise<void>;
}

/** The parameters of a network by bound name, with their shapes. */
export type ParameterShapes = ReadonlyMap<string, { readonly shape: readonly (number | string)[] }>;

/**
 * An optimizer for parameters that are bound on `device` already.
 * @param name stands before messages
 * @param owner tells the moments of several optimizers of the same parameters apart. @default ""
 */
export async function createOptimizer(
  device: Device,
  name: string,
  parameters: ParameterShapes,
  settings: OptimizerSettings,
  owner = "",
): Promise<Optimizer> {
  const names = [...parameters.keys()];
  const ask = async (request: KernelRequest): Promise<unknown> => device.invoke(KERNEL, request);
  const average = settings.averageDecay !== undefined;
  await ask({ kind: "start", owner, parameters: names, average });
  const decayed = names.filter((key) => parameters.get(key)!.shape.length >= 2);
  const slots = [
    ...(["moment1", "moment2"] as const).flatMap((kind) => names.map((key) => slot(kind, key, owner))),
    ...(average ? names.map((key) => slot("average", key)) : []),
  ];
  return {
    async accumulate(first) {
      await ask({ kind: "accumulate", parameters: names, first });
    },
    async step(step, steps, accumulated = 1) {
      const learningRate = learningRateAt(settings.schedule, step, steps);
      const result = (await ask({
        kind: "step",
        owner,
        parameters: names,
        decayed,
        accumulated,
        learningRate,
        beta1: settings.beta1 ?? 0.9,
        beta2: settings.beta2 ?? 0.999,
        epsilon: settings.epsilon ?? 1e-8,
        weightDecay: settings.weightDecay ?? 0,
        clipNorm: settings.clipNorm ?? Number.POSITIVE_INFINITY,
        averageDecay: settings.averageDecay === undefined ? undefined : averageDecayAt(settings.averageDecay, step),
        step: step + 1,
      })) as StepResult;
      if (result.bad !== undefined) {
        throw new LaurelError(`${name}, step ${step}: expected finite gradients, got others in "${result.bad}"`);
      }
      return { gradientNorm: result.norm, learningRate };
    },
    async swapAverage() {
      if (average) await ask({ kind: "swap", parameters: names });
    },
    state: () => readBound(device, slots),
    slots,
    async trained() {
      if (!average) return readBound(device, names);
      const averages = await readBound(
        device,
        names.map((key) => slot("average", key)),
      );
      return new Map(names.map((key) => [key, averages.get(slot("average", key))!]));
    },
    async dispose() {
      await ask({ kind: "drop", names: [...slots, ...names.map((key) => slot("sum", key))] });
    },
  };
}

/** Copies of tensors bound on a device. */
export async function readBound(device: Device, names: readonly string[]): Promise<Map<string, Tensor>> {
  const request: KernelRequest = { kind: "read", names };
  return new Map(Object.entries((await device.invoke(KERNEL, request)) as Record<string, Tensor>));
}

/** Replaces tensors bound on a device. */
export async function writeBound(device: Device, tensors: ReadonlyMap<string, Tensor>): Promise<void> {
  const request: KernelRequest = { kind: "write", tensors: Object.fromEntries(tensors) };
  await device.invoke(KERNEL, request);
}

/** Frees tensors bound on a device. */
export async function dropBound(device: Device, names: readonly string[]): Promise<void> {
  const request: KernelRequest = { kind: "drop", names };
  await device.invoke(KERNEL, request);
}
