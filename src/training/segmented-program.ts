/** @file A loss as several programs run one after the other, which keep only the values between them: less memory for more time. */

import { UsageError } from "../errors.js";
import { segmentGradient } from "../autodiff/segments.js";
import type { Graph, Value } from "../graph/types.js";
import { type EncodeOptions, feedTypes } from "../onnx/encode.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { Program } from "../runtime/program.js";
import { byteSize } from "../tensor/dtype.js";
import { elementCount, type Tensor } from "../tensor/tensor.js";
import type { WeightRef } from "../weights/types.js";
import { slot } from "./optimizer-kernel.js";

/** How much memory a gradient may take: "balanced" cuts at the given values, "low" also between blocks. */
export type SegmentMemory = "balanced" | "low";

/** A loss, what it is differentiated by, and where it is cut. */
export interface SegmentedLoss {
  /** Scalar. */
  readonly loss: Value;
  /** Scalars returned beside it. */
  readonly metrics: Readonly<Record<string, Value>>;
  /** Trained parameters by name; bound on the device under that name before the first run. */
  readonly targets: ReadonlyMap<string, Value>;
  /** Weights of the other parameters. */
  readonly weights: ReadonlyMap<string, WeightRef>;
  /** Outputs of the networks that the loss is made of. */
  readonly cuts: readonly Value[];
  readonly memory: SegmentMemory;
}

/** The programs of a loss. Each run leaves `gradient/<parameter>` bound for every target. */
export interface SegmentedProgram {
  run(
    feeds: Readonly<Record<string, Tensor>>,
  ): Promise<{ readonly loss: number; readonly metrics: Readonly<Record<string, number>> }>;
  /** Frees the programs; the gradients stay. */
  dispose(): Promise<void>;
}

/** Bytes of weights that the programs of a "low" loss may have loaded all the time; those beyond are loaded for each run. */
const KEPT_WEIGHTS = 256e6;

/**
 * The programs of a loss and its gradients. What a run of one allocated is given back before the next runs. With "low", programs with large weights
 * are loaded when their turn comes and freed after it: what then has to be in memory is the largest piece, not the networks.
 */
export async function compileSegments(device: Device, name: string, loss: SegmentedLoss): Promise<SegmentedProgram> {
  const targets = new Map([...loss.targets].map(([key, value]) => [slot("gradient", key), value]));
  const parts = segmentGradient({ ...loss, name, targets, refine: loss.memory === "low" });
  const options = { weights: loss.weights, trainable: new Set(loss.targets.keys()), keepsMemory: false };
  let weights = 0;
  const steps = parts.map((part) => {
    weights += weightBytes(part.graph, options);
    const stays = loss.memory === "balanced" || weights <= KEPT_WEIGHTS;
    const own = { ...options, label: labelOf(part.graph.name), once: !stays };
    return { ...part, program: new LazyProgram(device, () => part.graph, own), stays };
  });
  for (const { program, stays } of steps) if (stays) await program.get();
  const known = new Set(steps.flatMap(({ graph }) => [...feedTypes(graph, options).keys()]));
  return {
    async run(feeds) {
      const unknown = Object.keys(feeds).filter((key) => !known.has(key));
      if (unknown.length > 0) throw new UsageError(`${name}: expected feeds of the loss, got ${unknown.join(", ")}`);
      let results: Record<string, Tensor> = {};
      for (const { program, stays, fetch, hold, free } of steps) {
        const loaded = await program.get();
        const outputs = await loaded.run(feedsOf(loaded, feeds), { fetch, hold, free });
        if (!stays) await program.dispose();
        results = { ...results, ...outputs };
      }
      const number = (key: string): number => Number(results[key]?.data[0]);
      const metrics = Object.fromEntries(Object.keys(loss.metrics).map((key) => [key, number(key)]));
      return { loss: number("loss"), metrics };
    },
    async dispose() {
      for (const { program } of steps) await program.dispose();
    },
  };
}

/** Bytes of the parameters that become part of a program. */
function weightBytes({ parameters }: Graph, { weights, trainable }: EncodeOptions): number {
  let sum = 0;
  for (const [key, { shape, dtype }] of parameters) {
    if (weights?.has(key) && !trainable?.has(key)) sum += elementCount(shape as readonly number[]) * byteSize(dtype);
  }
  return sum;
}

function feedsOf({ inputs }: Program, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const own = inputs.flatMap(({ name }) => {
    const tensor = feeds[name];
    return tensor === undefined ? [] : [[name, tensor] as const];
  });
  return Object.fromEntries(own);
}

/** A graph's name without the slashes that a profile's path would take for folders. */
function labelOf(name: string): string {
  return name.replaceAll("/", " ");
}
