/** @file Scaled dot-product attention over rows of tokens, plain (differentiable) or fused. */

import { InternalError } from "../errors.js";
import { matMul, mul, multiHeadAttention, reshape, softmax, transpose, add } from "../graph/builder.js";
import type { Dim } from "../graph/dims.js";
import type { Value } from "../graph/types.js";
import { staticSize } from "./dimension.js";
import { linear } from "./linear.js";
import type { NetworkMode, Scope } from "./scope.js";

/** Tokens of a batch as rows: `rows` is `[batch * length, width]`. */
export interface Tokens {
  readonly rows: Value;
  readonly batch: Dim;
  readonly length: number;
}

/** How queries look at keys. */
export interface AttentionOptions {
  readonly heads: number;
  /** Added to the scores: `[1 or N, 1 or heads, queries, keys]`. */
  readonly mask?: Value | undefined;
}

/**
 * softmax(q k^T / sqrt(width / heads) + mask) v, per head, for rows of width `width`; returns rows like the queries'.
 * Heads are consecutive slices of the width.
 */
export function attend(
  mode: NetworkMode,
  query: Tokens,
  key: Value,
  value: Value,
  keys: number,
  options: AttentionOptions,
): Value {
  const width = staticSize(query.rows, -1, "attention");
  const { heads, mask } = options;
  if (width % heads !== 0) {
    throw new InternalError(`attention: expected a width divisible by ${heads} heads, got ${width}`);
  }
  const { batch, length } = query;
  if (mode === "inference") {
    const [q, k, v] = [
      reshape(query.rows, [batch, length, width]),
      reshape(key, [batch, keys, width]),
      reshape(value, [batch, keys, width]),
    ];
    return reshape(multiHeadAttention(q, k, v, mask === undefined ? { heads } : { heads, mask }), query.rows.shape);
  }
  const size = width / heads;
  const split = (rows: Value, tokens: number, permutation: number[]): Value =>
    transpose(reshape(rows, [batch, tokens, heads, size]), permutation);
  // Scaling the queries touches fewer numbers than scaling the scores.
  const q = split(mul(query.rows, 1 / Math.sqrt(size)), length, [0, 2, 1, 3]);
  const scores = matMul(q, split(key, keys, [0, 2, 3, 1]));
  const probabilities = softmax(mask === undefined ? scores : add(scores, mask), -1);
  const mixed = matMul(probabilities, split(value, keys, [0, 2, 1, 3]));
  return reshape(transpose(mixed, [0, 2, 1, 3]), query.rows.shape);
}

/** Names of the four projections below an attention's scope, and which have a bias. */
export interface ProjectionNames {
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly out: string;
  readonly inputBias: boolean;
}

/** diffusers' names. Only the output projection has a bias. */
export const DIFFUSERS_PROJECTIONS: ProjectionNames = {
  query: "to_q",
  key: "to_k",
  value: "to_v",
  out: "to_out.0",
  inputBias: false,
};
/** diffusers' names with biases throughout, as in an autoencoder. */
export const DIFFUSERS_BIASED_PROJECTIONS: ProjectionNames = { ...DIFFUSERS_PROJECTIONS, inputBias: true };
/** CLIP's names in transformers. */
export const CLIP_PROJECTIONS: ProjectionNames = {
  query: "q_proj",
  key: "k_proj",
  value: "v_proj",
  out: "out_proj",
  inputBias: true,
};
/** BERT's names; its output projection lies beside the attention. */
export const BERT_PROJECTIONS: ProjectionNames = {
  query: "self.query",
  key: "self.key",
  value: "self.value",
  out: "output.dense",
  inputBias: true,
};

/**
 * Attention with its four projections: `tokens` look at `context` (themselves when omitted), of any width. Inner and outer width
 * are the tokens' width.
 */
export function attention(
  scope: Scope,
  names: ProjectionNames,
  tokens: Tokens,
  context: Tokens | undefined,
  options: AttentionOptions,
): Value {
  const width = staticSize(tokens.rows, -1, scope.prefix);
  const source = context ?? tokens;
  const bias = { bias: names.inputBias };
  const query = linear(scope.at(names.query), tokens.rows, width, bias);
  const key = linear(scope.at(names.key), source.rows, width, bias);
  const value = linear(scope.at(names.value), source.rows, width, bias);
  const mixed = attend(scope.mode, { ...tokens, rows: query }, key, value, source.length, options);
  return linear(scope.at(names.out), mixed, width);
}
