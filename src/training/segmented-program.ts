/** @file A loss as several programs run one after the other, which keep only the values between them: less memory for more time. */

import { UsageError } from "../errors.js";
import { segmentGradient } from "../autodiff/segments.js";
import type { SegmentStep } from "../autodiff/segments.js";
import type { Value } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import type { Tensor } from "../tensor/tensor.js";
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

/** Compiles the programs of a loss and its gradients. */
export async function compileSegments(device: Device, name: string, loss: SegmentedLoss): Promise<SegmentedProgram> {
  const targets = new Map([...loss.targets].map(([key, value]) => [slot("gradient", key), value]));
  const steps = segmentGradient({ ...loss, name, targets, refine: loss.memory === "low" });
  const options = { weights: loss.weights, trainable: new Set(loss.targets.keys()) };
  const programs: Program[] = [];
  for (const { graph } of steps) programs.push(await device.compile(graph, { ...options, label: labelOf(graph.name) }));
  const known = new Set(programs.flatMap(({ inputs }) => inputs.map((port) => port.name)));
  return {
    async run(feeds) {
      const unknown = Object.keys(feeds).filter((key) => !known.has(key));
      if (unknown.length > 0) throw new UsageError(`${name}: expected feeds of the loss, got ${unknown.join(", ")}`);
      let results: Record<string, Tensor> = {};
      for (const [index, program] of programs.entries()) {
        const { fetch, hold, free } = steps[index] as SegmentStep;
        const outputs = await program.run(feedsOf(program, feeds), { fetch, hold, free });
        results = { ...results, ...outputs };
      }
      const number = (key: string): number => Number(results[key]?.data[0]);
      const metrics = Object.fromEntries(Object.keys(loss.metrics).map((key) => [key, number(key)]));
      return { loss: number("loss"), metrics };
    },
    async dispose() {
      for (const program of programs) await program.dispose();
    },
  };
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
