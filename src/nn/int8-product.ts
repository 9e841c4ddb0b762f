/** @file A linear layer's product in 8-bit whole numbers: faster where the processor multiplies them (VNNI), and approximate. */

import { dynamicQuantizeMatMul } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { staticSize } from "./dimension.js";
import type { Scope } from "./scope.js";

/** Added to a weight's name: its rounded values, int8 `[in, out]`, and the worth of a unit of each output channel, float32 `[out]`. */
export const INT8_SUFFIXES = { values: ".int8", scale: ".scale" } as const;

/** The largest magnitude of a rounded weight. */
const LARGEST = 127;

/**
 * x W^T + b for `x` `[R, in]`, with the parameters that {@link roundWeight} makes of PyTorch's weight `[out, in]`. `x` is rounded at each run to 256 levels
 * between its least and its greatest number, all rows alike: a result depends on the other rows.
 */
export function int8Product(scope: Scope, x: Value, outFeatures: number, bias?: Value): Value {
  const inFeatures = staticSize(x, -1, scope.prefix);
  const values = scope.parameter(`weight${INT8_SUFFIXES.values}`, [inFeatures, outFeatures], "int8");
  const scale = scope.parameter(`weight${INT8_SUFFIXES.scale}`, [outFeatures]);
  return dynamicQuantizeMatMul(x, values, scale, bias);
}

/**
 * A weight `[out, in]` as whole multiples of a unit for each output channel, its largest magnitude / 127.
 * @returns the multiples, `[in, out]`, and the units, `[out]`
 */
export function roundWeight(weight: Float32Array, outFeatures: number): { values: Int8Array; scale: Float32Array } {
  const inFeatures = weight.length / outFeatures;
  const values = new Int8Array(weight.length);
  const scale = new Float32Array(outFeatures);
  for (let channel = 0; channel < outFeatures; channel++) {
    const row = weight.subarray(channel * inFeatures, (channel + 1) * inFeatures);
    let largest = 0;
    for (const value of row) largest = Math.max(largest, Math.abs(value));
    // a channel of zeros has any unit
    const unit = largest === 0 ? 1 : largest / LARGEST;
    scale[channel] = unit;
    for (let i = 0; i < inFeatures; i++) values[i * outFeatures + channel] = Math.round(row[i]! / unit);
  }
  return { values, scale };
}
