/** @file Gradient rules of the matrix products. G is the output's gradient, ' swaps the last two axes. */

import { fusedMatMul, gemm, mul, reshape } from "../../graph/builder.js";
import { shapeElements } from "../../graph/dims.js";
import type { Value } from "../../graph/types.js";
import type { RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";

/** The product's gradients for any flags; broadcast batch axes are summed by the engine. */
function productGradients(
  a: Value,
  b: Value,
  dy: Value,
  transA: boolean,
  transB: boolean,
  alpha: number,
): [Value, Value] {
  const da = transA
    ? fusedMatMul(b, dy, { transA: transB, transB: true, alpha })
    : fusedMatMul(dy, b, { transB: !transB, alpha });
  const db = transB
    ? fusedMatMul(dy, a, { transA: true, transB: transA, alpha })
    : fusedMatMul(a, dy, { transA: !transA, alpha });
  return [da, db];
}

/** Rows of all leading axes together, or undefined when two of them are symbolic. */
function rows(value: Value): Value | undefined {
  const count = shapeElements(value.shape.slice(0, -1));
  return count === undefined ? undefined : reshape(value, [count, value.shape.at(-1) ?? 1]);
}

/** Rules of the matrix products. */
export const matrixRules: RuleFamily<"MatMul" | "Gemm" | "FusedMatMul" | "DynamicQuantizeMatMul"> = {
  DynamicQuantizeMatMul: "nondifferentiable",
  // Y = A B:  dA = G B', dB = A' G. With one matrix B for all rows of A, both are one Gemm.
  MatMul: (context) => {
    const [a, b, dy] = [given(context, 0), given(context, 1), upstream(context)];
    if (b.shape.length === 2) {
      const [flatA, flatDy] = [rows(a), rows(dy)];
      if (flatA !== undefined && flatDy !== undefined) {
        return [
          reshape(gemm(flatDy, b, undefined, { transB: true }), a.shape),
          gemm(flatA, flatDy, undefined, { transA: true }),
        ];
      }
    }
    return productGradients(a, b, dy, false, false, 1);
  },
  // Y = alpha op(A) op(B):  d op(A) = alpha G op(B)', d op(B) = alpha op(A)' G, swapped again where op swaps
  FusedMatMul: (context) => {
    const { transA, transB, alpha } = context.attributes;
    return productGradients(given(context, 0), given(context, 1), upstream(context), transA === 1, transB === 1, alpha);
  },
  // Y = alpha op(A) op(B) + beta C:  as above, and dC = beta G summed over the axes C was stretched along
  Gemm: (context) => {
    const [a, b, dy] = [given(context, 0), given(context, 1), upstream(context)];
    const { alpha, beta } = context.attributes;
    const [transA, transB] = [context.attributes.transA === 1, context.attributes.transB === 1];
    const da = transA
      ? gemm(b, dy, undefined, { transA: transB, transB: true, alpha })
      : gemm(dy, b, undefined, { transB: !transB, alpha });
    const db = transB
      ? gemm(dy, a, undefined, { transA: true, transB: transA, alpha })
      : gemm(a, dy, undefined, { transA: !transA, alpha });
    const gradients: (Value | undefined)[] = [da, db];
    if (context.inputs.length > 2) gradients.push(beta === 1 ? dy : mul(dy, beta));
    return gradients;
  },
};
