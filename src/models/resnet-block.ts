/** @file ResnetBlock2D, Downsample2D and Upsample2D of diffusers, shared by the UNet and the autoencoder. */

import { add, resizeNearest, reshape, silu, slice } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { conv2d } from "../nn/conv2d.js";
import { batchOf, staticSize } from "../nn/dimension.js";
import { linear } from "../nn/linear.js";
import { groupNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { upsampleConv2d } from "../nn/upsample-conv2d.js";

/** Group normalisation's settings, the same throughout a network. */
export interface GroupNormOptions {
  readonly groups: number;
  readonly epsilon: number;
}

/**
 * x + conv2(silu(norm2(conv1(silu(norm1(x))) + time))), with a 1x1 shortcut where the channels change.
 * `x` `[N, C, h, w]` to `[N, outChannels, h, w]`; `activeTime` is silu of the time embedding `[N, T]`.
 */
export function resnetBlock(
  scope: Scope,
  x: Value,
  outChannels: number,
  norm: GroupNormOptions,
  activeTime?: Value,
): Value {
  let hidden = conv2d(scope.at("conv1"), silu(groupNorm(scope.at("norm1"), x, norm)), outChannels);
  if (activeTime !== undefined) {
    const shift = linear(scope.at("time_emb_proj"), activeTime, outChannels);
    hidden = add(hidden, reshape(shift, [batchOf(x), outChannels, 1, 1]));
  }
  hidden = conv2d(scope.at("conv2"), silu(groupNorm(scope.at("norm2"), hidden, norm)), outChannels);
  const same = staticSize(x, 1, scope.prefix) === outChannels;
  return add(same ? x : conv2d(scope.at("conv_shortcut"), x, outChannels, { kernel: 1 }), hidden);
}

/** Halves height and width (rounded up) by a 3x3 convolution of stride 2. Padding 0 means one row and column below and right. */
export function downsample(scope: Scope, x: Value, padding: 0 | 1): Value {
  const channels = staticSize(x, 1, scope.prefix);
  return conv2d(scope.at("conv"), x, channels, { stride: 2, padding: padding === 0 ? [0, 0, 1, 1] : 1 });
}

/** Doubles height and width by repetition, cut to `size` where a level above was odd, then a 3x3 convolution. */
export function upsample(scope: Scope, x: Value, size?: readonly [number, number]): Value {
  const doubled = [2, 3].map((axis) => 2 * staticSize(x, axis, scope.prefix));
  if (size === undefined || doubled.every((side, i) => side === size[i])) return upsampleConv2d(scope.at("conv"), x);
  const [height, width] = size;
  const cut = slice(slice(resizeNearest(x, 2), 2, 0, height), 3, 0, width);
  return conv2d(scope.at("conv"), cut, staticSize(x, 1, scope.prefix));
}
