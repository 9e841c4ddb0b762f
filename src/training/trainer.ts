/** @file The training loop's engine: one program that returns loss and gradients, and an optimizer that lives in the device process. */

import { InternalError, LaurelError } from "../errors.js";
import { gradient } from "../autodiff/gradient.js";
import { graph } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import type { Tensor } from "../tensor/tensor.js";
import type { WeightRef } from "../weights/types.js";
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
  readonly averageDecay?: number;
}

/** A loss to be minimised. */
export interface Objective {
  /** Scalar. */
  readonly loss: Value;
  /** Scalars to be logged. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** Start values of the trained parameters; all others of the graph come from `frozen`. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly frozen?: ReadonlyMap<string, WeightRef>;
}

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
  readonly program: Program;
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
  const { loss, metrics = {}, parameters, frozen = new Map<string, WeightRef>() } = objective;
  const declared = graph(name, { loss }).parameters;
  const names = [...declared.keys()].filter((key) => parameters.has(key));
  if (names.length === 0) throw new InternalError(`${name}: expected trained parameters in the loss, got none`);
  const targets = names.map((key) => declared.get(key) as Value);
  const gradients = gradient(loss, targets);
  const outputs = Object.fromEntries(names.map((key, i) => [slot("gradient", key), gradients[i] as Value]));
  const training = graph(name, { loss, ...metrics, ...outputs });
  const program = await device.compile(training, { weights: frozen, trainable: new Set(names), label: name });
  for (const key of names) await program.bind(key, parameters.get(key) as Tensor);

  const ask = async (request: KernelRequest): Promise<unknown> => device.invoke(KERNEL, request);
  const average = settings.averageDecay !== undefined;
  await ask({ kind: "start", parameters: names, average });
  const decayed = names.filter((_, i) => (targets[i]?.shape.length ?? 0) >= 2);
  const slots = (["moment1", "moment2", ...(average ? ["average" as const] : [])] as const).flatMap((kind) =>
    names.map((key) => slot(kind, key)),
  );
  const hold = Object.fromEntries(Object.keys(outputs).map((key) => [key, key]));
  const fetch = ["loss", ...Object.keys(metrics)];
  const read = async (wanted: readonly string[]): Promise<Map<string, Tensor>> =>
    new Map(Object.entries((await ask({ kind: "read", names: wanted })) as Record<string, Tensor>));

  return {
    program,
    async update(batches, step, steps) {
      const sums = Object.fromEntries(fetch.map((key) => [key, 0]));
      for (const [index, feeds] of batches.entries()) {
        const results = await program.run(feeds, { fetch, hold });
        for (const key of fetch) sums[key] = (sums[key] as number) + Number(results[key]?.data[0]) / batches.length;
        if (!Number.isFinite(sums.loss)) {
          throw new LaurelError(
            `${name}, step ${step}: expected a finite loss, got ${sums.loss}; ${await firstBad(names, read)}`,
          );
        }
        if (batches.length > 1) await ask({ kind: "accumulate", parameters: names, first: index === 0 });
      }
      const learningRate = learningRateAt(settings.schedule, step, steps);
      const result = (await ask({
        kind: "step",
        parameters: names,
        decayed,
        accumulated: batches.length,
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
      const { loss: lossValue = Number.NaN, ...others } = sums;
      return { loss: lossValue, metrics: others, gradientNorm: result.norm, learningRate };
    },
    async state() {
      return read([...names, ...slots]);
    },
    async restore(tensors) {
      const wanted = [...names, ...slots];
      const missing = wanted.filter((key) => !tensors.has(key));
      const unexpected = [...tensors.keys()].filter((key) => !wanted.includes(key));
      if (missing.length + unexpected.length > 0) {
        throw new LaurelError(
          `${name}: expected the checkpoint of this network, got one without [${missing.join(", ")}] and with [${unexpected.join(", ")}]`,
        );
      }
      await ask({ kind: "write", tensors: Object.fromEntries(tensors) });
    },
    async trained() {
      if (!average) return read(names);
      const averages = await read(names.map((key) => slot("average", key)));
      return new Map(names.map((key) => [key, averages.get(slot("average", key)) as Tensor]));
    },
    async dispose() {
      await ask({
        kind: "drop",
        names: [...names, ...slots, ...Object.keys(outputs), ...names.map((key) => slot("sum", key))],
      });
      await program.dispose();
    },
  };
}

/** Says which parameter, in name order, holds the first value that is not finite. */
async function firstBad(
  names: readonly string[],
  read: (names: readonly string[]) => Promise<Map<string, Tensor>>,
): Promise<string> {
  const tensors = await read(names);
  for (const [key, { data }] of tensors) {
    if (data instanceof Float32Array && data.some((x) => !Number.isFinite(x)))
      return `the first bad tensor is "${key}"`;
  }
  return "all parameters are finite: the batch or the network made it";
}
