/** @file Reading shapes inside layers: static sizes, and tokens flattened to rows. */

import { InternalError } from "../errors.js";
import { reshape } from "../graph/builder.js";
import type { Dim } from "../graph/dims.js";
import { formatShape } from "../graph/dims.js";
import type { Value } from "../graph/types.js";

/** The size of `axis` (negative counts from the end). @throws InternalError naming `where` if it is symbolic or absent. */
export function staticSize(value: Value, axis: number, where: string): number {
  const size = value.shape.at(axis);
  if (typeof size !== "number") {
    throw new InternalError(`${where}: expected a static size in axis ${axis}, got ${formatShape(value.shape)}`);
  }
  return size;
}

/** `[..., width]` as `[rows, width]`; a value of rank 2 is returned as it is. */
export function toRows(value: Value, where: string): Value {
  if (value.shape.length === 2) {
    return value;
  }
  return reshape(value, [-1, staticSize(value, -1, where)]);
}

/** The batch dimension of `value`: a number or a symbol. */
export function batchOf(value: Value): Dim {
  const batch = value.shape[0];
  if (batch === undefined) {
    throw new InternalError("a batched value: expected at least one axis, got a scalar");
  }
  return batch;
}
