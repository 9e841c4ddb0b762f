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
export const matrixOps: OpFamily<"MatMul" | "Gemm" | "FusedMatMul" | "DynamicQuantizeMatMul"> = {
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
  DynamicQuantizeMatMul: {
    domain: "com.microsoft",
    arity: [3, 5],
    infer(inputs) {
      const [a, b, scale, zeroPoint, bias] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2), inputs[3], inputs[4]]; // prettier-ignore
      requireRank(a, 2);
      requireRank(b, 2);
      require(a.dtype === "float32" && b.dtype === "int8", "a float32 and an int8 matrix", a, b);
      require(dimEquals(dimAt(a.shape, 1), dimAt(b.shape, 0)), "matrices of one inner size", a, b);
      require(zeroPoint === undefined, "no zero point", zeroPoint);
      const columns = dimAt(b.shape, 1);
      for (const value of bias === undefined ? [scale] : [scale, bias]) {
        requireSameDType(a, value);
        require(value.shape.length === 1 && dimEquals(dimAt(value.shape, 0), columns), `one number a column [${columns}]`, value); // prettier-ignore
      }
      return [{ dtype: a.dtype, shape: [dimAt(a.shape, 0), columns] }];
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

/**
 * x W + bias with float32 x [m, k], int8 W [k, n] whose column j is worth `scale[j]` a unit, and x rounded to 256 levels between its least and its greatest number: a
 * result depends on all rows of x (ONNX Runtime only).
 */
export function dynamicQuantizeMatMul(x: Value, weight: Value, scale: Value, bias?: Value): Value {
  const inputs = bias === undefined ? [x, weight, scale] : [x, weight, scale, undefined, bias];
  return emit("DynamicQuantizeMatMul", inputs, {})[0] as Value;
}
