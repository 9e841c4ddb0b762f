/**
 * @file Checks gradients against directional finite differences: no reference implementation needed, but only as good as float32 allows.
 *
 * For a random direction u over all targets, the slope of L(x + t u) at t = 0 must equal <gradient, u>. The loss is summed in float64 on the
 * host from the fetched output, and differences of two step sizes are extrapolated, so smooth functions of modest size agree to about 1e-4.
 */

import { UsageError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
import { isStatic } from "../graph/dims.js";
import type { Graph, Value } from "../graph/types.js";
import { TorchGenerator } from "../tensor/random.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { gradient } from "./gradient.js";
import type { RuleTable } from "./rule.js";

/** Runs a graph: feeds by input or parameter name, outputs by name. */
export type Evaluate = (graph: Graph, feeds: Readonly<Record<string, Tensor>>) => Promise<Record<string, Tensor>>;

/** Settings of `checkGradient`. */
export interface CheckOptions {
  /** Random directions tried. @default 3 */
  readonly directions?: number;
  /** Step sizes, largest first; each is also halved for the extrapolation, and the best one counts. @default [0.1, 0.03, 0.01] */
  readonly steps?: readonly number[];
  /** @default 1 */
  readonly seed?: number;
  /** Rules to check instead of Laurel's. */
  readonly rules?: RuleTable;
}

/** The comparison along one direction. */
export interface Slope {
  readonly analytic: number;
  readonly numeric: number;
  /** |analytic - numeric| over the gradient's Euclidean length: the slope a random direction typically has. */
  readonly error: number;
}

/**
 * Compares the gradient of `<output, w>`, w random, with respect to named inputs or parameters against finite differences.
 *
 * @param output A value of float32 with a static shape.
 * @param point Feeds at which to check; those of the targets are float32.
 * @param targets The inputs or parameters to differentiate by.
 * @returns the worst direction. @throws UsageError when a shape is not static or a feed is missing.
 */
export async function checkGradient(
  output: Value,
  targets: readonly Value[],
  point: Readonly<Record<string, Tensor>>,
  evaluate: Evaluate,
  options: CheckOptions = {},
): Promise<Slope> {
  const { directions = 3, steps = [0.1, 0.03, 0.01], seed = 1, rules } = options;
  if (!isStatic(output.shape))
    throw new UsageError(`check: expected a static output shape, got [${output.shape.join(",")}]`);
  const generator = new TorchGenerator(seed);
  const weights = float32(output.shape, generator.randn(elementCount(output.shape)));
  const seedInput = input("check/upstream", output.dtype, output.shape);
  const gradients = gradient([{ value: output, upstream: seedInput }], targets, rules);
  const names = targets.map(nameOf);
  const backward = graph(
    "check backward",
    Object.fromEntries(gradients.map((value, i) => [`gradient/${names[i]}`, value])),
  );
  const forward = graph("check forward", { "check/output": output });
  const results = await evaluate(backward, { ...point, "check/upstream": weights });

  let worst: Slope | undefined;
  for (let direction = 0; direction < directions; direction++) {
    const shifts = new Map<string, Float32Array>();
    let analytic = 0;
    let scale = 0;
    for (const name of names) {
      const values = (results[`gradient/${name}`] as Tensor).data as Float32Array;
      const shift = generator.randn(values.length);
      shifts.set(name, shift);
      for (let i = 0; i < values.length; i++) {
        analytic += (values[i] as number) * (shift[i] as number);
        scale += (values[i] as number) * (values[i] as number);
      }
    }
    const loss = async (t: number): Promise<number> => {
      const moved = names.map((name) => [name, shifted(point, name, shifts.get(name) as Float32Array, t)] as const);
      const { "check/output": value } = await evaluate(forward, { ...point, ...Object.fromEntries(moved) });
      return dot((value as Tensor).data as Float32Array, weights.data);
    };
    const slope = async (h: number): Promise<number> => ((await loss(h)) - (await loss(-h))) / (2 * h);
    let best: Slope | undefined;
    for (const step of steps) {
      // Richardson: the h^2 term of the central difference cancels.
      const numeric = (4 * (await slope(step / 2)) - (await slope(step))) / 3;
      const error = Math.abs(analytic - numeric) / Math.max(Math.sqrt(scale), Number.MIN_VALUE);
      if (best === undefined || error < best.error) best = { analytic, numeric, error };
    }
    if (best !== undefined && (worst === undefined || best.error > worst.error)) worst = best;
  }
  if (worst === undefined) throw new UsageError("check: expected at least one direction and one step, got none");
  return worst;
}

function nameOf({ source }: Value): string {
  if (source.kind === "input" || source.kind === "parameter") return source.name;
  throw new UsageError(`check: expected inputs or parameters as targets, got a ${source.kind}`);
}

function shifted(point: Readonly<Record<string, Tensor>>, name: string, shift: Float32Array, t: number): Tensor {
  const tensor = point[name];
  if (tensor?.dtype !== "float32")
    throw new UsageError(`check: expected a float32 feed "${name}", got ${tensor?.dtype ?? "none"}`);
  return { ...tensor, data: (tensor.data as Float32Array).map((x, i) => x + t * (shift[i] as number)) };
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}
