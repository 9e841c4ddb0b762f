/** @file A loss as a program that leaves the gradients of its trained parameters in the device process. */

import { InternalError, LaurelError } from "../errors.js";
import { gradient } from "../autodiff/gradient.js";
import { graph } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import type { Tensor } from "../tensor/tensor.js";
import type { WeightRef } from "../weights/types.js";
import { dropBound, readBound } from "./optimizer.js";
import { slot } from "./optimizer-kernel.js";
import { compileSegments, type SegmentedProgram } from "./segmented-program.js";

/** A loss to be minimised. */
export interface Objective {
  /** Scalar. */
  readonly loss: Value;
  /** Scalars to be logged. */
  readonly metrics?: Readonly<Record<string, Value>>;
  /** Start values of the trained parameters; all others of the graph come from `frozen`. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly frozen?: ReadonlyMap<string, WeightRef>;
  /** Outputs of the networks that the loss is made of: where it is cut to save memory. @default none */
  readonly cuts?: readonly Value[];
}

/** How much memory a gradient may take: one program, one a network, or blocks of networks; less memory takes more time. */
export const MEMORY_MODES = ["fast", "balanced", "low"] as const;

/** How much memory a gradient may take. */
export type MemoryMode = (typeof MEMORY_MODES)[number];

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
  memory: MemoryMode = "fast",
): Promise<GradientProgram> {
  const parameters = trainedParameters(name, objective);
  const names = [...parameters.keys()];
  const compiled =
    memory === "fast"
      ? await compileWhole(device, name, objective, parameters)
      : await compileSegments(device, name, {
          loss: objective.loss,
          metrics: objective.metrics ?? {},
          targets: parameters,
          weights: objective.frozen ?? new Map<string, WeightRef>(),
          cuts: objective.cuts ?? [],
          memory,
        });
  return {
    parameters,
    async run(feeds, where) {
      const result = await compiled.run(feeds);
      await requireFinite(device, where, result.loss, names);
      return result;
    },
    async dispose() {
      await compiled.dispose();
      await dropBound(
        device,
        names.map((key) => slot("gradient", key)),
      );
    },
  };
}

/** Loss and gradients in one program. */
async function compileWhole(
  device: Device,
  name: string,
  { loss, metrics = {}, frozen = new Map<string, WeightRef>() }: Objective,
  parameters: ReadonlyMap<string, Value>,
): Promise<SegmentedProgram> {
  const names = [...parameters.keys()];
  const gradients = gradient(loss, [...parameters.values()]);
  const outputs = Object.fromEntries(names.map((key, i) => [slot("gradient", key), gradients[i]!]));
  const training = graph(name, { loss, ...metrics, ...outputs });
  const program = await device.compile(training, { weights: frozen, trainable: new Set(names), label: name });
  const hold = Object.fromEntries(Object.keys(outputs).map((key) => [key, key]));
  const fetch = ["loss", ...Object.keys(metrics)];
  return {
    async run(feeds) {
      const results = await program.run(feeds, { fetch, hold });
      const number = (key: string): number => Number(results[key]?.data[0]);
      return {
        loss: number("loss"),
        metrics: Object.fromEntries(Object.keys(metrics).map((key) => [key, number(key)])),
      };
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

/**
 * @throws LaurelError for a loss that is not finite, naming which parameter, in name order, holds the first value that is not, or where all are finite which
 * holds the largest: it may have exploded
 */
export async function requireFinite(
  device: Device,
  where: string,
  loss: number,
  parameters: readonly string[],
): Promise<void> {
  if (Number.isFinite(loss)) return;
  const largest = [...(await readBound(device, parameters))].map(([name, { data }]) => ({
    name,
    value: (data as Float32Array).reduce((most, x) => (Number.isNaN(x) ? Infinity : Math.max(most, Math.abs(x))), 0),
  }));
  const bad = largest.find(({ value }) => value === Infinity);
  const most = largest.reduce((one, other) => (other.value > one.value ? other : one));
  const why =
    bad === undefined
      ? `all parameters are finite, the largest is ${most.value.toPrecision(2)} in "${most.name}": the batch or the network made it`
      : `the first bad tensor is "${bad.name}"`;
  throw new LaurelError(`${where}: expected a finite loss, got ${loss}; ${why}`);
}
