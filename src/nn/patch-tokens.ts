/** @file The first layer of a vision transformer: patches, class token, positions. */

import { InternalError } from "../errors.js";
import { add, concat, conv, pad, reshape, slice, transpose } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { batchOf, staticSize } from "./dimension.js";

/** The parameters of `patchTokens`, S the image's side and P the patch's. */
export interface PatchTokensOptions {
  readonly imageSize: number;
  /** `[width, 3, P, P]` */
  readonly weight: Value;
  /** `[width]`; none when undefined. */
  readonly bias?: Value | undefined;
  /** `[1, width]` */
  readonly classToken: Value;
  /** `[1 + (S / P)^2, width]` */
  readonly positions: Value;
}

/**
 * `[class token, patch 1, ...] + positions` of `pixels` `[N, 3, S, S]`: `[N, 1 + (S / P)^2, width]`.
 * The class token is added to the first position, which needs no copy of it per image: weights alone, folded at load.
 */
export function patchTokens(pixels: Value, options: PatchTokensOptions): Value {
  const { imageSize, weight, bias, classToken, positions } = options;
  if ([2, 3].some((axis) => pixels.shape[axis] !== imageSize)) {
    throw new InternalError(`pixels: expected ${imageSize}x${imageSize}, got ${pixels.shape.slice(2).join("x")}`);
  }
  const [width, patch] = [staticSize(weight, 0, "patches"), staticSize(weight, 2, "patches")];
  const grid = conv(pixels, weight, bias, { strides: [patch, patch], pads: [0, 0, 0, 0] });
  const count = Math.floor(imageSize / patch) ** 2;
  const patches = transpose(reshape(grid, [batchOf(pixels), width, count]), [0, 2, 1]);
  const first = add(classToken, slice(positions, 0, 0, 1));
  return add(pad(patches, [0, 1, 0, 0, 0, 0]), concat([first, slice(positions, 0, 1)], 0));
}
