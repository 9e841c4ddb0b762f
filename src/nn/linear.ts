/** @file Linear layers and embeddings. */

import { gather, gemm, reshape } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { staticSize, toRows } from "./dimension.js";
import type { Scope } from "./scope.js";

/**
 * y = x W^T + b with PyTorch's weight `[outFeatures, inFeatures]`, for `x` of `[..., inFeatures]`.
 * One Gemm(transB=1) over all rows: the weight is used as it lies in the file. Rows in, rows out: `[rows, in]` needs no reshape.
 * @default options.bias true
 */
export function linear(scope: Scope, x: Value, outFeatures: number, options: { bias?: boolean } = {}): Value {
  const inFeatures = staticSize(x, -1, scope.prefix);
  const weight = scope.parameter("weight", [outFeatures, inFeatures]);
  const bias = (options.bias ?? true) ? scope.parameter("bias", [outFeatures]) : undefined;
  const rows = gemm(toRows(x, scope.prefix), weight, bias, { transB: true });
  return x.shape.length === 2 ? rows : reshape(rows, [...x.shape.slice(0, -1), outFeatures]);
}

/** Rows of the table `weight` `[count, width]` for int64 `ids` of any shape: `[...ids, width]`. */
export function embedding(scope: Scope, ids: Value, count: number, width: number): Value {
  return gather(scope.parameter("weight", [count, width]), ids, 0);
}
