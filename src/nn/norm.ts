/** @file Normalisation layers. */

import { InternalError } from "../errors.js";
import { add, constant, expand, layerNormalization, mul, reshape } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { float32 } from "../tensor/tensor.js";
import { staticSize } from "./dimension.js";
import type { Scope } from "./scope.js";

/** Layer normalisation over the last axis. @default epsilon 1e-5 */
export function layerNorm(scope: Scope, x: Value, epsilon = 1e-5): Value {
  const width = staticSize(x, -1, scope.prefix);
  return layerNormalization(x, scope.parameter("weight", [width]), scope.parameter("bias", [width]), {
    axis: -1,
    epsilon,
  });
}

/**
 * Group normalisation of `x` `[N, C, H, W]`: each group of C / groups channels has mean 0 and variance 1, then each channel is
 * scaled and shifted. Computed as a layer normalisation over the flattened groups, which on the CPU is faster than both the
 * GroupNormalization operator and primitives.
 */
export function groupNorm(scope: Scope, x: Value, options: { groups: number; epsilon: number }): Value {
  const { groups, epsilon } = options;
  const [channels, height, width] = [1, 2, 3].map((axis) => staticSize(x, axis, scope.prefix)) as [
    number,
    number,
    number,
  ];
  if (channels % groups !== 0) {
    throw new InternalError(`${scope.prefix}: expected channels divisible by ${groups} groups, got ${channels}`);
  }
  const size = (channels / groups) * height * width;
  const batch = x.shape[0] ?? 1;
  // A scale of ones is folded when the session is created; written out it would swell the model.
  const ones = expand(constant(float32([1], [1])), [size]);
  const grouped = layerNormalization(reshape(x, [batch, groups, size]), ones, undefined, { axis: -1, epsilon });
  const scale = reshape(scope.parameter("weight", [channels]), [channels, 1, 1]);
  const shift = reshape(scope.parameter("bias", [channels]), [channels, 1, 1]);
  return add(mul(reshape(grouped, x.shape), scale), shift);
}
