/** @file BLIP's two encoders: a vision transformer, and BERT that may look at what it saw. */

import { add, cast, mul, reshape, slice, split, sub } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Tokens } from "../nn/attention.js";
import { attend, attention, BERT_PROJECTIONS } from "../nn/attention.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { feedForward } from "../nn/feed-forward.js";
import { embedding, linear } from "../nn/linear.js";
import { layerNorm } from "../nn/norm.js";
import { patchTokens } from "../nn/patch-tokens.js";
import type { Scope } from "../nn/scope.js";
import type { BlipTextConfig, BlipVisionConfig } from "./blip-config.js";

const VISION_EPSILON = 1e-6;

/** A prompt's tokens. */
export interface BlipTextInputs {
  /** int64 `[N, L]`, the prompt's WordPiece ids, [CLS] first. */
  readonly ids: Value;
  /** int64 `[N, L]`, 1 for the prompt's tokens and 0 for padding. */
  readonly mask: Value;
}

/** BLIP's pre-norm vision transformer with one joint projection for queries, keys and values; all its tokens after the last norm, the class token first. */
export function buildBlipVision(scope: Scope, config: BlipVisionConfig, pixels: Value): Tokens {
  const { width, heads, patchSize, imageSize, inner } = config;
  const count = 1 + (imageSize / patchSize) ** 2;
  const projection = scope.at("patch_embed", "proj");
  const embedded = patchTokens(pixels, {
    imageSize,
    weight: projection.parameter("weight", [width, 3, patchSize, patchSize]),
    bias: projection.parameter("bias", [width]),
    classToken: reshape(scope.parameter("cls_token", [1, 1, width]), [1, width]),
    positions: reshape(scope.parameter("pos_embed", [1, count, width]), [count, width]),
  });
  const tokens = { batch: batchOf(pixels), length: staticSize(embedded, 1, "image tokens") };
  let rows = toRows(embedded, "image tokens");
  for (let index = 0; index < config.layers; index++) {
    const block = scope.at("blocks", index);
    const normed = layerNorm(block.at("norm1"), rows, VISION_EPSILON);
    const joint = linear(block.at("attn", "qkv"), normed, 3 * width);
    const [query, key, value] = split(joint, [width, width, width], 1) as [Value, Value, Value];
    const mixed = attend(scope.mode, { ...tokens, rows: query }, key, value, tokens.length, { heads });
    rows = add(rows, linear(block.at("attn", "proj"), mixed, width));
    const widened = layerNorm(block.at("norm2"), rows, VISION_EPSILON);
    rows = add(rows, feedForward(block.at("mlp"), widened, { inner, activation: "gelu" }));
  }
  return { ...tokens, rows: layerNorm(scope.at("norm"), rows, VISION_EPSILON) };
}

/**
 * BERT, post-norm, with cross-attention to `image` in every layer, or without where there is none; the state of the first token, `[N, width]`.
 */
export function buildBlipText(
  scope: Scope,
  config: BlipTextConfig,
  inputs: BlipTextInputs,
  image: Tokens | undefined,
): Value {
  const { width, epsilon, heads } = config;
  const { ids } = inputs;
  const [batch, length] = [batchOf(ids), staticSize(ids, 1, "prompt ids")];
  const embeddings = scope.at("embeddings");
  const words = embedding(embeddings.at("word_embeddings"), ids, config.vocabulary, width);
  const positions = embeddings.at("position_embeddings").parameter("weight", [config.maxPositions, width]);
  let rows = layerNorm(
    embeddings.at("LayerNorm"),
    toRows(add(words, slice(positions, 0, 0, length)), "prompt"),
    epsilon,
  );
  // (1 - mask) * -10000, for every head and query.
  const padding = mul(sub(cast(inputs.mask, "float32"), 1), 10000);
  const mask = reshape(padding, [batch, 1, 1, length]);
  const normed = (layer: Scope, state: Value, change: Value): Value =>
    layerNorm(layer.at("output", "LayerNorm"), add(change, state), epsilon);
  for (let index = 0; index < config.layers; index++) {
    const layer = scope.at("encoder", "layer", index);
    const own = layer.at("attention");
    rows = normed(own, rows, attention(own, BERT_PROJECTIONS, { rows, batch, length }, undefined, { heads, mask }));
    if (image !== undefined) {
      const cross = layer.at("crossattention");
      rows = normed(cross, rows, attention(cross, BERT_PROJECTIONS, { rows, batch, length }, image, { heads }));
    }
    const names = ["intermediate.dense", "output.dense"] as const;
    rows = normed(layer, rows, feedForward(layer, rows, { inner: config.inner, activation: config.activation, names }));
  }
  return reshape(slice(reshape(rows, [batch, length, width]), 1, 0, 1), [batch, width]);
}
