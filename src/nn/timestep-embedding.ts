/** @file Sinusoidal timestep embeddings and the small network behind them. */

import { add, concat, constant, cos, mul, reshape, silu, sin } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { float32 } from "../tensor/tensor.js";
import { batchOf, staticSize } from "./dimension.js";
import { linear } from "./linear.js";
import type { Scope } from "./scope.js";

/**
 * f_i = exp(-ln(10000) i / (channels / 2 - shift)); embedding = [sin(t f), cos(t f)], or cosines first.
 * `timestep` `[N]` float32 to `[N, channels]`; channels is even. The exponent is rounded to float32 where PyTorch rounds it: at
 * t = 999 another rounding would show. Source: diffusers `get_timestep_embedding`.
 */
export function timestepSinusoids(
  timestep: Value,
  options: { channels: number; flipSinToCos: boolean; freqShift: number },
): Value {
  const half = options.channels / 2;
  const scale = Math.fround(-Math.log(10000));
  const frequencies = Array.from({ length: half }, (_, index) => {
    const exponent = Math.fround(Math.fround(scale * index) / Math.fround(half - options.freqShift));
    return Math.fround(Math.exp(exponent));
  });
  const angles = mul(reshape(timestep, [batchOf(timestep), 1]), constant(float32([1, half], frequencies)));
  return concat(options.flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)], 1);
}

/**
 * `linear_2(silu(linear_1(x)))`: `[N, channels]` to `[N, width]`, where x are the sinusoids, plus `cond_proj(condition)` if there is a condition
 * `[N, any]`. Source: diffusers `TimestepEmbedding`.
 */
export function timestepEmbedding(scope: Scope, sinusoids: Value, width: number, condition?: Value): Value {
  const channels = staticSize(sinusoids, 1, scope.prefix);
  const input =
    condition === undefined
      ? sinusoids
      : add(sinusoids, linear(scope.at("cond_proj"), condition, channels, { bias: false }));
  return linear(scope.at("linear_2"), silu(linear(scope.at("linear_1"), input, width)), width);
}
