/** @file The pre-norm transformer that CLIP's text and vision towers share, in transformers' names. */

import { add } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { ActivationName } from "../nn/activation.js";
import { ACTIVATION_NAMES } from "../nn/activation.js";
import type { Tokens } from "../nn/attention.js";
import { attention, CLIP_PROJECTIONS } from "../nn/attention.js";
import { feedForward } from "../nn/feed-forward.js";
import { layerNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { type ConfigReader, LIMITS } from "./config-reader.js";

/** The sizes of one tower. */
export interface ClipTowerConfig {
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: ActivationName;
  readonly epsilon: number;
}

/** Reads the fields that both towers share; the defaults are given by the tower's class. */
export function readClipTower(
  reader: ConfigReader,
  defaults: { width: number; inner: number; layers: number; heads: number },
): ClipTowerConfig {
  const width = reader.integer("hidden_size", defaults.width);
  const heads = reader.integer("num_attention_heads", defaults.heads);
  if (width % heads !== 0) {
    reader.fault(`num_attention_heads: expected a divisor of hidden_size ${width}, got ${heads}`);
  }
  return {
    width,
    inner: reader.integer("intermediate_size", defaults.inner),
    layers: reader.integer("num_hidden_layers", defaults.layers, 1, LIMITS.layers),
    heads,
    activation: reader.oneOf("hidden_act", ACTIVATION_NAMES, "quick_gelu"),
    epsilon: reader.positive("layer_norm_eps", 1e-5),
  };
}

/** `encoder.layers.*` over tokens as rows; `mask` as in attention. */
export function buildClipEncoder(scope: Scope, config: ClipTowerConfig, tokens: Tokens, mask?: Value): Value {
  return buildClipLayers(scope, config, tokens, mask).at(-1) as Value;
}

/** The rows before the first layer and after each: entry i is what i layers made of them. */
export function buildClipLayers(scope: Scope, config: ClipTowerConfig, tokens: Tokens, mask?: Value): readonly Value[] {
  let rows = tokens.rows;
  const states = [rows];
  for (let index = 0; index < config.layers; index++) {
    const layer = scope.at("encoder", "layers", index);
    const normed = layerNorm(layer.at("layer_norm1"), rows, config.epsilon);
    const options = { heads: config.heads, mask };
    rows = add(
      rows,
      attention(layer.at("self_attn"), CLIP_PROJECTIONS, { ...tokens, rows: normed }, undefined, options),
    );
    const inner = layerNorm(layer.at("layer_norm2"), rows, config.epsilon);
    rows = add(rows, feedForward(layer.at("mlp"), inner, { inner: config.inner, activation: config.activation }));
    states.push(rows);
  }
  return states;
}
