/** @file The position-wise networks of transformer blocks. */

import { add, gelu, gemm, mul, split } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { ActivationName } from "./activation.js";
import { activate } from "./activation.js";
import { staticSize } from "./dimension.js";
import { linear, loraInner, loraUp } from "./linear.js";
import type { Scope } from "./scope.js";

/** Two linear layers, by default `fc1` and `fc2`, with an activation between them; `rows` `[R, width]` to the same shape. */
export function feedForward(
  scope: Scope,
  rows: Value,
  options: { inner: number; activation: ActivationName; names?: readonly [string, string] },
): Value {
  const [first, second] = options.names ?? ["fc1", "fc2"];
  const inner = activate(options.activation, linear(scope.at(first), rows, options.inner));
  return linear(scope.at(second), inner, staticSize(rows, -1, scope.prefix));
}

/**
 * diffusers' FeedForward with GEGLU: [a, g] = x W^T + b; y = (a * gelu(g)) V^T + c, inner width 4 times the width.
 * The weight is split, not the product: two Gemms instead of one and a copy of the widest activation of the network.
 * So is the B of the projection's adapters.
 */
export function gegluFeedForward(scope: Scope, rows: Value): Value {
  const width = staticSize(rows, -1, scope.prefix);
  const inner = 4 * width;
  const projection = scope.at("net", 0, "proj");
  const halves = (value: Value): [Value, Value] => split(value, [inner, inner], 0) as [Value, Value];
  const [valueWeight, gateWeight] = halves(projection.parameter("weight", [2 * inner, width]));
  const [valueBias, gateBias] = halves(projection.parameter("bias", [2 * inner]));
  let value = gemm(rows, valueWeight, valueBias, { transB: true });
  let gate = gemm(rows, gateWeight, gateBias, { transB: true });
  for (const adapter of projection.adapters) {
    const middle = loraInner(projection, adapter, rows);
    const [valueUp, gateUp] = halves(loraUp(projection, adapter, [2 * inner, adapter.rank]));
    value = add(value, gemm(middle, valueUp, undefined, { transB: true }));
    gate = add(gate, gemm(middle, gateUp, undefined, { transB: true }));
  }
  return linear(scope.at("net", 2), mul(value, gelu(gate)), width);
}
