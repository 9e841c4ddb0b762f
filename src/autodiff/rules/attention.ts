/** @file Gradient rule of fused attention: the probabilities are computed again in primitives, so only the way back pays for them. */

import { add, fusedMatMul, mul, reduceSum, reshape, softmax, sub, transpose } from "../../graph/builder.js";
import type { Dim, Value } from "../../graph/types.js";
import type { RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";

/** [N, L, H D] -> [N, H, L, D] */
function splitHeads(value: Value, heads: number): Value {
  const [batch, length, width] = value.shape as readonly [Dim, Dim, number];
  return transpose(reshape(value, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** [N, H, L, D] -> the shape [N, L, H D] of `like` */
function joinHeads(value: Value, like: Value): Value {
  return reshape(transpose(value, [0, 2, 1, 3]), like.shape);
}

/** Rules of the attention ops. */
export const attentionRules: RuleFamily<"MultiHeadAttention"> = {
  // P = softmax(scale Q K' + M), Y = P V, per head:
  //     dV = P' dY,  dP = dY V',  dS = P (dP - sum(dP P)),  dQ = scale dS K,  dK = scale dS' Q,  dM = dS
  MultiHeadAttention: (context) => {
    const { num_heads: heads, scale } = context.attributes;
    const [q, k, v] = [0, 1, 2].map((index) => given(context, index)) as [Value, Value, Value];
    const mask = context.inputs[5];
    const alpha = scale ?? 1 / Math.sqrt(Number(q.shape[2]) / heads);
    const [query, key, value, dy] = [q, k, v, upstream(context)].map((x) => splitHeads(x, heads)) as [
      Value,
      Value,
      Value,
      Value,
    ];
    const scores = fusedMatMul(query, key, { transB: true, alpha });
    const p = softmax(mask === undefined ? scores : add(scores, mask));
    const dp = fusedMatMul(dy, value, { transB: true });
    const ds = mul(p, sub(dp, reduceSum(mul(dp, p), [3])));
    const gradients: Record<number, Value> = {
      0: joinHeads(fusedMatMul(ds, key, { alpha }), q),
      1: joinHeads(fusedMatMul(ds, query, { transA: true, alpha }), k),
      2: joinHeads(fusedMatMul(p, dy, { transA: true }), v),
      5: ds,
    };
    return context.inputs.map((_, index) => gradients[index]);
  },
};
