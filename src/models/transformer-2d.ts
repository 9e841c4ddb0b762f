/** @file Transformer2DModel of diffusers: attention blocks over the pixels of a feature map, with text as context. */

import { add, reshape, transpose } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Tokens } from "../nn/attention.js";
import { attention, DIFFUSERS_PROJECTIONS } from "../nn/attention.js";
import { conv2d } from "../nn/conv2d.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { gegluFeedForward } from "../nn/feed-forward.js";
import { linear } from "../nn/linear.js";
import { groupNorm, layerNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";

/** Sizes of one transformer. */
export interface Transformer2dOptions {
  readonly heads: number;
  readonly layers: number;
  readonly groups: number;
  /** Linear projections in and out (SD 2.x) instead of 1x1 convolutions (SD 1.x). */
  readonly linearProjection: boolean;
}

/** `x` `[N, C, h, w]` to the same shape; `context` are the text's tokens. */
export function transformer2d(scope: Scope, x: Value, context: Tokens, options: Transformer2dOptions): Value {
  const [batch, channels] = [batchOf(x), staticSize(x, 1, scope.prefix)];
  const [height, width] = [staticSize(x, 2, scope.prefix), staticSize(x, 3, scope.prefix)];
  const length = height * width;
  // The transformer's own norms are 1e-6, whatever the UNet's norm_eps is.
  const normed = groupNorm(scope.at("norm"), x, { groups: options.groups, epsilon: 1e-6 });
  const toTokens = (map: Value): Value =>
    toRows(transpose(reshape(map, [batch, channels, length]), [0, 2, 1]), scope.prefix);
  const toMap = (rows: Value): Value =>
    reshape(transpose(reshape(rows, [batch, length, channels]), [0, 2, 1]), x.shape);

  let rows = options.linearProjection
    ? linear(scope.at("proj_in"), toTokens(normed), channels)
    : toTokens(conv2d(scope.at("proj_in"), normed, channels, { kernel: 1 }));
  for (let index = 0; index < options.layers; index++) {
    rows = transformerBlock(scope.at("transformer_blocks", index), { rows, batch, length }, context, options.heads);
  }
  const out = scope.at("proj_out");
  const change = options.linearProjection
    ? toMap(linear(out, rows, channels))
    : conv2d(out, toMap(rows), channels, { kernel: 1 });
  return add(change, x);
}

/** BasicTransformerBlock: self-attention, cross-attention, GEGLU; each pre-norm (epsilon 1e-5) with a residual. */
function transformerBlock(scope: Scope, tokens: Tokens, context: Tokens, heads: number): Value {
  const attend = (name: string, normName: string, rows: Value, source?: Tokens): Value => {
    const normed = { ...tokens, rows: layerNorm(scope.at(normName), rows) };
    return add(attention(scope.at(name), DIFFUSERS_PROJECTIONS, normed, source, { heads }), rows);
  };
  const self = attend("attn1", "norm1", tokens.rows);
  const cross = attend("attn2", "norm2", self, context);
  return add(gegluFeedForward(scope.at("ff"), layerNorm(scope.at("norm3"), cross)), cross);
}
