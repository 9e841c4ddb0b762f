/** @file Two-dimensional convolution. */

import { conv } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { staticSize } from "./dimension.js";
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

/** Convolution of `x` `[N, C, H, W]` with a square kernel, PyTorch's weight `[outChannels, C, k, k]`. */
export function conv2d(scope: Scope, x: Value, outChannels: number, options: Conv2dOptions = {}): Value {
  const kernel = options.kernel ?? 3;
  const stride = options.stride ?? 1;
  const padding = options.padding ?? Math.floor((kernel - 1) / 2);
  const weight = scope.parameter("weight", [outChannels, staticSize(x, 1, scope.prefix), kernel, kernel]);
  const bias = (options.bias ?? true) ? scope.parameter("bias", [outChannels]) : undefined;
  const pads = typeof padding === "number" ? ([padding, padding, padding, padding] as const) : padding;
  return conv(x, weight, bias, { strides: [stride, stride], pads });
}
