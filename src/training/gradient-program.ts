/** @file A loss as a program that leaves the gradients of its trained parameters in the device process. */

import { InternalError, LaurelError } from "../errors.js";
import { gradient } from "../autodiff/gradient.js";
import { graph } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import type { Tensor } from "../tensor/tensor.js";
import type { WeightRef } from "../weights/types.js";
import { readBound } from "./optimizer.js";
import { slot } from "./optimizer-kernel.js";

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

/** The numbers of one run. */
export interface GradientRun {
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/** A compiled loss. Each run leaves `gradient/<parameter>` bound, for an optimizer. */
export interface GradientProgram {
  /** The trained parameters that the loss depends on. */
  readonly parameters: ReadonlyMap<string, Value>;
  /**
   * Loss, metrics and gradients of one batch.
   * @param where stands before the message of an error
   * @throws LaurelError when the loss is not finite, naming the first parameter that is not, if one is not
   */
  run(feeds: Readonly<Record<string, Tensor>>, where: string): Promise<GradientRun>;
  /** Frees the program and the gradients. */
  dispose(): Promise<void>;
}

/**
 * Compiles the gradient of `objective` with respect to those of its parameters that occur in the loss. They must be bound on the device before the
 * first run.
 */
export async function createGradientProgram(
  device: Device,
  name: string,
  objective: Objective,
): Promise<GradientProgram & { readonly program: Program }> {
  const { loss, metrics = {}, frozen = new Map<string, WeightRef>() } = objective;
  const parameters = trainedParameters(name, objective);
  const names = [...parameters.keys()];
  const gradients = gradient(loss, [...parameters.values()]);
  const outputs = Object.fromEntries(names.map((key, i) => [slot("gradient", key), gradients[i]!]));
  const training = graph(name, { loss, ...metrics, ...outputs });
  const program = await device.compile(training, { weights: frozen, trainable: new Set(names), label: name });
  const hold = Object.fromEntries(Object.keys(outputs).map((key) => [key, key]));
  const fetch = ["loss", ...Object.keys(metrics)];
  return {
    parameters,
    program,
    async run(feeds, where) {
      const results = await program.run(feeds, { fetch, hold });
      const [lossValue, ...others] = fetch.map((key) => Number(results[key]?.data[0]));
      await requireFinite(device, where, lossValue!, names);
      return { loss: lossValue!, metrics: Object.fromEntries(Object.keys(metrics).map((key, i) => [key, others[i]!])) };
    },
    dispose: () => program.dispose(),
  };
}

/** The trained parameters that occur in the loss, in the order of the graph. */
export function trainedParameters(name: string, { loss, parameters }: Objective): Map<string, Value> {
  const declared = graph(name, { loss }).parameters;
  const trained = new Map([...declared].filter(([key]) => parameters.has(key)));
  if (trained.size === 0) throw new InternalError(`${name}: expected trained parameters in the loss, got none`);
  return trained;
}

/** @throws LaurelError for a loss that is not finite, naming which parameter, in name order, holds the first value that is not */
export async function requireFinite(
  device: Device,
  where: string,
  loss: number,
  parameters: readonly string[],
): Promise<void> {
  if (Number.isFinite(loss)) return;
  const bad = [...(await readBound(device, parameters))].find(
    ([, { data }]) => data instanceof Float32Array && data.some((x) => !Number.isFinite(x)),
  );
  const why =
    bad === undefined
      ? "all parameters are finite: the batch or the network made it"
      : `the first bad tensor is "${bad[0]}"`;
  throw new LaurelError(`${where}: expected a finite loss, got ${loss}; ${why}`);
}
