/** @file What a reward does to an image before it looks, as differentiable graph: resize, centre crop, normalise. */

import { InternalError } from "../errors.js";
import { clip, constant, div, matMul, slice, sub } from "../graph/builder.js";
import { formatShape } from "../graph/dims.js";
import type { Value } from "../graph/types.js";
import { centreSquare } from "../image/preprocess.js";
import { bicubicWeights, rowsFirst } from "../image/resize.js";
import { float32 } from "../tensor/tensor.js";
import type { RewardNetwork } from "./contract.js";

/** Beyond these a value rounds to no 8-bit colour: half a step outside of black and white. */
const [BLACK, WHITE] = [-0.5 / 255, 1 + 0.5 / 255];

/** Sides of an image in pixels. */
export interface ImageSize {
  readonly height: number;
  readonly width: number;
}

/**
 * An image float32 `[N, 3, H, W]` of RGB in [0, 1] to normalised pixels `[N, 3, S, S]` of a reward, as `score()` makes them of bytes but for the
 * rounding to 8 bits: Pillow's antialiased bicubic in Pillow's order of the axes, each as one matrix product of which only what lies inside the centre crop
 * is kept; then (x - mean) / std.
 *
 * The bicubic overshoots at edges. Pillow cuts what leaves the range of bytes after each pass; here it is cut half a step of a byte outside,
 * so that rounding errors do not take the gradient from plain white and black.
 */
export function preprocessImage(image: Value, size: ImageSize, network: RewardNetwork): Value {
  const { height, width } = size;
  if (image.shape.length !== 4 || image.shape.slice(1).join() !== [3, height, width].join()) {
    throw new InternalError(`image: expected [N,3,${height},${width}], got ${formatShape(image.shape)}`);
  }
  const side = network.imageSize;
  const resized = centreSquare(side, size);
  const { left, top } = resized.window;
  const columns = (x: Value): Value => resizeAxis(x, 3, resized.width, left, side);
  const rows = (x: Value): Value => resizeAxis(x, 2, resized.height, top, side);
  const square = rowsFirst(size, resized) ? columns(rows(image)) : rows(columns(image));
  const perChannel = (values: readonly number[]): Value => constant(float32([3, 1, 1], Float32Array.from(values)));
  return div(sub(square, perChannel(network.mean)), perChannel(network.std));
}

/** `count` pixels from `first` on, of the `outSize` that an axis (2 or 3) becomes. */
function resizeAxis(x: Value, axis: 2 | 3, outSize: number, first: number, count: number): Value {
  const size = x.shape[axis] as number;
  if (size === outSize) return count === size ? x : slice(x, axis, first, first + count);
  const { taps, starts, counts, weights } = bicubicWeights(size, outSize, first, count);
  // [count, size] for rows from the left, its transpose for columns from the right
  const matrix = new Float32Array(count * size);
  for (let i = 0; i < count; i++) {
    for (let t = 0; t < counts[i]!; t++) {
      const from = starts[i]! + t;
      matrix[axis === 2 ? i * size + from : from * count + i] = weights[i * taps + t]!;
    }
  }
  const product =
    axis === 2
      ? matMul(constant(float32([count, size], matrix)), x)
      : matMul(x, constant(float32([size, count], matrix)));
  return clip(product, BLACK, WHITE);
}
