/** @file Matrix products. */

import { dimEquals } from "../dims.js";
import { emitter } from "../emit.js";
import { broadcastShapes, dimAt, operand, require, requireFloat, requireRank, requireSameDType } from "../infer.js";
import type { Dim, OpFamily, Value } from "../types.js";

/** The last two dimensions, swapped if asked. */
function matrix(value: Value, transposed: boolean): [Dim, Dim] {
  const rank = value.shape.length;
  const [rows, columns] = [dimAt(value.shape, rank - 2), dimAt(value.shape, rank - 1)];
  return transposed ? [columns, rows] : [rows, columns];
}

function product(a: Value, b: Value, transA: boolean, transB: boolean): Dim[] {
  requireSameDType(a, b);
  require(a.shape.length >= 2 && b.shape.length >= 2, "operands of rank >= 2", a, b);
  const [rows, inner] = matrix(a, transA);
  const [inner2, columns] = matrix(b, transB);
  const note = transA || transB ? ` (transA ${Number(transA)}, transB ${Number(transB)})` : "";
  require(dimEquals(inner, inner2), `matrices of one inner size${note}`, a, b);
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2));
  require(batch !== undefined, "batch dimensions that broadcast", a, b);
  return [...(batch ?? []), rows, columns];
}

/** Specs of the matrix ops. @internal */
export const matrixOps: OpFamily<"MatMul" | "Gemm" | "FusedMatMul"> = {
  MatMul: {
    arity: [2, 2],
    infer(inputs) {
      const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
      return [{ dtype: a.dtype, shape: product(a, b, false, false) }];
    },
  },
  Gemm: {
    arity: [2, 3],
    infer(inputs, { transA, transB }) {
      const [a, b, c] = [operand(inputs, 0), operand(inputs, 1), inputs[2]];
      requireFloat(a);
      requireRank(a, 2);
      requireRank(b, 2);
      const shape = product(a, b, transA === 1, transB === 1);
      if (c !== undefined) {
        requireSameDType(a, c);
        const [rows, columns] = [shape[0] as Dim, shape[1] as Dim];
        const [r, s] = [c.shape.at(-2) ?? 1, c.shape.at(-1) ?? 1];
        const fits = c.shape.length <= 2 && (r === 1 || dimEquals(r, rows)) && (s === 1 || dimEquals(s, columns));
        require(fits, `a C that broadcasts to [${rows},${columns}]`, c);
      }
      return [{ dtype: a.dtype, shape }];
    },
  },
  FusedMatMul: {
    domain: "com.microsoft",
    arity: [2, 2],
    infer(inputs, { transA, transB }) {
      const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
      requireFloat(a);
      return [{ dtype: a.dtype, shape: product(a, b, transA === 1, transB === 1) }];
    },
  },
};

const emit = emitter(matrixOps);

/** Batched product of [..., m, k] and [..., k, n]; leading dimensions broadcast. */
export function matMul(a: Value, b: Value): Value {
  return emit("MatMul", [a, b], {})[0] as Value;
}

/** Options of `gemm`. */
export interface GemmOptions {
  readonly transA?: boolean;
  readonly transB?: boolean;
  readonly alpha?: number;
  readonly beta?: number;
}

/** alpha * A' B' + beta * C of rank-2 operands; C broadcasts to [m, n]. */
export function gemm(a: Value, b: Value, c?: Value, options: GemmOptions = {}): Value {
  const { transA = false, transB = false, alpha = 1, beta = 1 } = options;
  const inputs = c === undefined ? [a, b] : [a, b, c];
  return emit("Gemm", inputs, { transA: Number(transA), transB: Number(transB), alpha, beta })[0] as Value;
}

/** alpha * A' B', batched, where ' swaps the last two dimensions if asked: no Transpose nodes (ONNX Runtime only). */
export function fusedMatMul(a: Value, b: Value, options: Omit<GemmOptions, "beta"> = {}): Value {
  const { transA = false, transB = false, alpha = 1 } = options;
  return emit("FusedMatMul", [a, b], { transA: Number(transA), transB: Number(transB), alpha })[0] as Value;
}
