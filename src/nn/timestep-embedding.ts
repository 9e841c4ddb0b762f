/** @file Sinusoidal timestep embeddings and the small network behind them. */

import { add, concat, constant, cos, mul, reshape, silu, sin } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { float32 } from "../tensor/tensor.js";
import { batchOf, staticSize } from "./dimension.js";
import { linear } from "./linear.js";
import type { Scope } from "./scope.js";

/** How numbers become sines and cosines. */
export interface SinusoidOptions {
  /** Sines and cosines of one number; even. */
  readonly channels: number;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
}

/**
 * f_i = exp(-ln(10000) i / (channels / 2 - shift)); embedding = [sin(t f), cos(t f)], or cosines first.
 * `timestep` `[N]` float32 to `[N, channels]`, or `[N, K]`, several numbers each, to `[N, K * channels]`. The exponent is rounded to float32 where
 * PyTorch rounds it: at t = 999 another rounding would show. Source: diffusers `get_timestep_embedding`.
 */
export function timestepSinusoids(timestep: Value, options: SinusoidOptions): Value {
  const half = options.channels / 2;
  const scale = Math.fround(-Math.log(10000));
  const frequencies = Array.from({ length: half }, (_, index) => {
    const exponent = Math.fround(Math.fround(scale * index) / Math.fround(half - options.freqShift));
    return Math.fround(Math.exp(exponent));
  });
  const several = timestep.shape.slice(1) as readonly number[];
  const ones = several.map(() => 1);
  const angles = mul(
    reshape(timestep, [batchOf(timestep), ...several, 1]),
    constant(float32([1, ...ones, half], frequencies)),
  );
  const waves = concat(options.flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)], -1);
  return several.length === 0
    ? waves
    : reshape(waves, [batchOf(timestep), several.reduce((product, size) => product * size, options.channels)]);
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
