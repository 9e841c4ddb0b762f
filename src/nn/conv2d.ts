/** @file Two-dimensional convolution. */

import { add, conv, mul } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { staticSize } from "./dimension.js";
import { loraDown, loraUp } from "./linear.js";
import type { Scope } from "./scope.js";

/** How a convolution moves over its input. */
export interface Conv2dOptions {
  /** Side of the square kernel. @default 3 */
  kernel?: number;
  /** @default 1 */
  stride?: number;
  /** Zeros on all sides, or `[top, left, bottom, right]`. @default (kernel - 1) / 2, rounded down */
  padding?: number | readonly [number, number, number, number];
  /** @default true */
  bias?: boolean;
}

/**
 * Convolution of `x` `[N, C, H, W]` with a square kernel, PyTorch's weight `[outChannels, C, k, k]`. The scope's adapters are added:
 * A `[rank, C, k, k]` moves as the weight does, B `[outChannels, rank, 1, 1]`.
 */
export function conv2d(scope: Scope, x: Value, outChannels: number, options: Conv2dOptions = {}): Value {
  const kernel = options.kernel ?? 3;
  const stride = options.stride ?? 1;
  const padding = options.padding ?? Math.floor((kernel - 1) / 2);
  const channels = staticSize(x, 1, scope.prefix);
  const weight = scope.parameter("weight", [outChannels, channels, kernel, kernel]);
  const bias = (options.bias ?? true) ? scope.parameter("bias", [outChannels]) : undefined;
  const pads = typeof padding === "number" ? ([padding, padding, padding, padding] as const) : padding;
  const movement = { strides: [stride, stride], pads } as const;
  let y = conv(x, weight, bias, movement);
  for (const adapter of scope.adapters) {
    const down = loraDown(scope, adapter, [adapter.rank, channels, kernel, kernel]);
    const up = loraUp(scope, adapter, [outChannels, adapter.rank, 1, 1]);
    y = add(y, conv(mul(conv(x, down, undefined, movement), adapter.scale), up));
  }
  return y;
}
