/** @file Linear layers and embeddings. */

import { add, gather, gemm, mul, reshape } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { staticSize, toRows } from "./dimension.js";
import { int8Product } from "./int8-product.js";
import type { Adapter, Scope } from "./scope.js";

/**
 * y = x W^T + b with PyTorch's weight `[outFeatures, inFeatures]`, for `x` of `[..., inFeatures]`.
 * One Gemm(transB=1) over all rows: the weight is used as it lies in the file. Rows in, rows out: `[rows, in]` needs no reshape.
 * The scope's adapters are added: A `[rank, inFeatures]`, B `[outFeatures, rank]`. Where the scope says int8, the product is that of {@link int8Product}.
 * @default options.bias true
 */
export function linear(scope: Scope, x: Value, outFeatures: number, options: { bias?: boolean } = {}): Value {
  const bias = (options.bias ?? true) ? scope.parameter("bias", [outFeatures]) : undefined;
  const input = toRows(x, scope.prefix);
  let rows = scope.int8 ? int8Product(scope, input, outFeatures, bias) : product(scope, input, outFeatures, bias);
  for (const adapter of scope.adapters) {
    const up = loraUp(scope, adapter, [outFeatures, adapter.rank]);
    rows = add(rows, gemm(loraInner(scope, adapter, input), up, undefined, { transB: true }));
  }
  return x.shape.length === 2 ? rows : reshape(rows, [...x.shape.slice(0, -1), outFeatures]);
}

function product(scope: Scope, rows: Value, outFeatures: number, bias: Value | undefined): Value {
  const weight = scope.parameter("weight", [outFeatures, staticSize(rows, -1, scope.prefix)]);
  return gemm(rows, weight, bias, { transB: true });
}

/** scale * A x: the adapter's narrow middle, `[rows, rank]`, for `rows` `[rows, inFeatures]`. */
export function loraInner(scope: Scope, adapter: Adapter, rows: Value): Value {
  const down = loraDown(scope, adapter, [adapter.rank, staticSize(rows, -1, scope.prefix)]);
  return mul(gemm(rows, down, undefined, { transB: true }), adapter.scale);
}

/** The parameter A of an adapter of the layer at `scope`. */
export function loraDown(scope: Scope, adapter: Adapter, shape: readonly number[]): Value {
  return scope.parameter(`lora_A.${adapter.name}.weight`, shape);
}

/** The parameter B of an adapter of the layer at `scope`. */
export function loraUp(scope: Scope, adapter: Adapter, shape: readonly number[]): Value {
  return scope.parameter(`lora_B.${adapter.name}.weight`, shape);
}

/** Rows of the table `weight` `[count, width]` for int64 `ids` of any shape: `[...ids, width]`. */
export function embedding(scope: Scope, ids: Value, count: number, width: number): Value {
  return gather(scope.parameter("weight", [count, width]), ids, 0);
}
