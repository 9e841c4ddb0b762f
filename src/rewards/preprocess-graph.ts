/** @file What a reward does to an image before it looks, as differentiable graph: resize, crop or pad, normalise. */

import { InternalError } from "../errors.js";
import { clip, constant, div, matMul, pad, slice, sub } from "../graph/builder.js";
import { formatShape } from "../graph/dims.js";
import type { Value } from "../graph/types.js";
import { fitSquare } from "../image/preprocess.js";
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

/** A network as far as its preprocessing goes. */
type Reader = Pick<RewardNetwork, "imageSize" | "preprocessing">;

/**
 * An image float32 `[N, 3, H, W]` of RGB in [0, 1] to normalised pixels `[N, 3, S, S]` of a reward, as `score()` makes them of bytes but for the
 * rounding to 8 bits: antialiased bicubic, each axis as one matrix product, then (x - mean) / std.
 *
 * `crop` takes Pillow's order of the axes and keeps only what lies inside the square. The bicubic overshoots at edges: Pillow cuts what leaves the
 * range of bytes after each pass; here it is cut half a step of a byte outside, so that rounding errors do not take the gradient from plain white and
 * black. `pad` cuts nothing, as its reference, and fills with black.
 */
export function preprocessImage(
  image: Value,
  size: ImageSize,
  network: Pick<RewardNetwork, "imageSize" | "preprocessing">,
): Value {
  const { height, width } = size;
  if (image.shape.length !== 4 || image.shape.slice(1).join() !== [3, height, width].join()) {
    throw new InternalError(`image: expected [N,3,${height},${width}], got ${formatShape(image.shape)}`);
  }
  const { mean, std, fit } = network.preprocessing;
  const square = fit === "pad" ? paddedSquare(image, size, network) : croppedSquare(image, size, network);
  const perChannel = (values: readonly number[]): Value => constant(float32([3, 1, 1], Float32Array.from(values)));
  return div(sub(square, perChannel(mean)), perChannel(std));
}

function croppedSquare(image: Value, size: ImageSize, { imageSize: side, preprocessing }: Reader): Value {
  const resized = fitSquare(preprocessing, side, size);
  const { left, top } = resized.window;
  const axis = (x: Value, index: 2 | 3): Value => {
    const [outSize, first] = index === 2 ? [resized.height, top] : [resized.width, left];
    const resampled = resizeAxis(x, index, outSize, first, side);
    return x.shape[index] === outSize ? resampled : clip(resampled, BLACK, WHITE);
  };
  return rowsFirst(size, resized) ? axis(axis(image, 2), 3) : axis(axis(image, 3), 2);
}

function paddedSquare(image: Value, size: ImageSize, { imageSize: side, preprocessing }: Reader): Value {
  const { width, height, window } = fitSquare(preprocessing, side, size);
  const resized = resizeAxis(resizeAxis(image, 3, width, 0, width), 2, height, 0, height);
  const [left, top] = [-window.left, -window.top];
  if (width === side && height === side) return resized;
  return pad(resized, [0, 0, top, left, 0, 0, side - height - top, side - width - left]);
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
  return axis === 2
    ? matMul(constant(float32([count, size], matrix)), x)
    : matMul(x, constant(float32([size, count], matrix)));
}
