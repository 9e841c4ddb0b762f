/** @file Fused attention of ONNX Runtime, for inference. */

import { UsageError } from "../../errors.js";
import { dimDivide, dimEquals } from "../dims.js";
import { emitter } from "../emit.js";
import { dimAt, operand, require, requireFloat, requireRank, requireSameDType } from "../infer.js";
import type { Dim, OpFamily, Value } from "../types.js";
import { expand } from "./shape.js";

/** Specs of the attention ops. @internal */
export const attentionOps: OpFamily<"MultiHeadAttention"> = {
  MultiHeadAttention: {
    domain: "com.microsoft",
    arity: [3, 6],
    infer(inputs, { num_heads: heads }) {
      const [q, k, v, bias] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2), inputs[5]];
      requireFloat(q);
      requireSameDType(q, k, v);
      for (const value of [q, k, v]) requireRank(value, 3);
      const [batch, queries, keys] = [dimAt(q.shape, 0), dimAt(q.shape, 1), dimAt(k.shape, 1)];
      require(dimEquals(dimAt(k.shape, 0), batch) && dimEquals(dimAt(v.shape, 0), batch), "one batch size", q, k, v);
      require(dimEquals(dimAt(v.shape, 1), keys), "as many values as keys", k, v);
      require(dimEquals(dimAt(q.shape, 2), dimAt(k.shape, 2)), "queries and keys of one width", q, k);
      for (const value of [q, v])
        require(dimDivide(dimAt(value.shape, 2), heads) !== undefined, `a width of ${heads} heads`, value);
      require(inputs[3] === undefined &&
        inputs[4] === undefined, "no bias and no key padding mask", inputs[3], inputs[4]);
      if (bias !== undefined) {
        requireSameDType(q, bias);
        requireRank(bias, 4);
        const within = (dim: Dim, full: Dim) => dim === 1 || dimEquals(dim, full);
        const fits = within(dimAt(bias.shape, 0), batch) && within(dimAt(bias.shape, 1), heads) && dimEquals(dimAt(bias.shape, 2), queries) && dimEquals(dimAt(bias.shape, 3), keys); // prettier-ignore
        require(fits, `a mask [1|${batch},1|${heads},${queries},${keys}]`, bias);
      }
      return [{ dtype: q.dtype, shape: [batch, queries, dimAt(v.shape, 2)] }];
    },
  },
};

const emit = emitter(attentionOps);

/** Options of `multiHeadAttention`. */
export interface AttentionOptions {
  readonly heads: number;
  /** Factor on the scores. @default 1 / sqrt(head width) */
  readonly scale?: number;
  /** Added to the scores before the softmax: float [1 | N, 1 | heads, 1 | queries, keys]. */
  readonly mask?: Value;
}

/** softmax(q k' * scale + mask) v per head: q [N, Lq, D], k [N, Lk, D], v [N, Lk, E] -> [N, Lq, E]. */
export function multiHeadAttention(q: Value, k: Value, v: Value, options: AttentionOptions): Value {
  const { heads, scale, mask } = options;
  if (!Number.isInteger(heads) || heads < 1)
    throw new UsageError(`MultiHeadAttention: expected a number of heads, got ${heads}`);
  const attributes = scale === undefined ? { num_heads: heads } : { num_heads: heads, scale };
  if (mask === undefined) return emit("MultiHeadAttention", [q, k, v], attributes)[0] as Value;
  // The kernel broadcasts a mask over batch and heads only.
  const queries = q.shape[1] as Dim;
  const [batch = 1, group = 1, rows = 1, keys = 1] = mask.shape;
  const full =
    mask.shape.length === 4 && rows === 1 && queries !== 1 ? expand(mask, [batch, group, queries, keys], q) : mask;
  return emit("MultiHeadAttention", [q, k, v, undefined, undefined, full], attributes)[0] as Value;
}
