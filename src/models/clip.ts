/** @file CLIPModel of transformers: the dual encoder whose cosine is the CLIP score. */

import { gemm, reshape, slice } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { linear } from "../nn/linear.js";
import { layerNorm } from "../nn/norm.js";
import { patchTokens } from "../nn/patch-tokens.js";
import type { Scope } from "../nn/scope.js";
import type { ClipTowerConfig } from "./clip-encoder.js";
import { buildClipEncoder, readClipTower } from "./clip-encoder.js";
import type { ClipTextConfig } from "./clip-text.js";
import { buildClipText, parseClipTextConfig } from "./clip-text.js";
import { ConfigReader, LIMITS } from "./config-reader.js";

/** The vision tower. */
export interface ClipVisionConfig extends ClipTowerConfig {
  readonly imageSize: number;
  readonly patchSize: number;
}

/** What config.json of a CLIPModel says. */
export interface ClipConfig {
  readonly text: ClipTextConfig;
  readonly vision: ClipVisionConfig;
  readonly projection: number;
  /**
   * How the two projections are stored: `linear` as transformers', `<name>.weight` `[projection, width]`; `matrix` as OpenCLIP's, `<name>`
   * `[width, projection]`.
   */
  readonly projections: "linear" | "matrix";
}

/** Keys a dual encoder's file may hold beyond its parameters. */
export const CLIP_IGNORED_KEYS: readonly RegExp[] = [/(^|\.)position_ids$/];
/** Keys that the text embedding does not use: to be ignored when only that graph is compiled. */
export const CLIP_KEYS_BEYOND_TEXT: readonly RegExp[] = [/^vision_model\./, /^visual_projection\./, /^logit_scale$/];
/** Keys that the image embedding does not use. */
export const CLIP_KEYS_BEYOND_IMAGE: readonly RegExp[] = [/^text_model\./, /^text_projection\./, /^logit_scale$/];

/** Parses a CLIPConfig with its classes' defaults. @throws ModelError */
export function parseClipConfig(json: unknown, where: string): ClipConfig {
  const reader = new ConfigReader(json, where);
  reader.only("model_type", "clip");
  const text = parseClipTextConfig(reader.raw("text_config") ?? {}, `${where}: text_config`);
  const vision = parseClipVisionConfig(reader.raw("vision_config") ?? {}, `${where}: vision_config`);
  return reader.finish({ text, vision, projection: reader.integer("projection_dim", 512), projections: "linear" });
}

function parseClipVisionConfig(json: unknown, where: string): ClipVisionConfig {
  const reader = new ConfigReader(json, where);
  reader.only("model_type", "clip_vision_model");
  reader.only("num_channels", 3);
  const imageSize = reader.integer("image_size", 224, 1, LIMITS.side);
  const patchSize = reader.integer("patch_size", 32, 1, LIMITS.side);
  if (patchSize > imageSize) {
    reader.fault(`patch_size: expected at most the image_size ${imageSize}, got ${patchSize}`);
  }
  return reader.finish({
    ...readClipTower(reader, { width: 768, inner: 3072, layers: 12, heads: 12 }),
    imageSize,
    patchSize,
  });
}

/** The projected text embedding `[N, projection]` (not normalised) of int64 `ids` `[N, L]`: `get_text_features`. */
export function buildClipTextEmbedding(scope: Scope, config: ClipConfig, ids: Value): Value {
  const { pooled } = buildClipText(scope, config.text, ids);
  return project(scope, config, "text_projection", pooled);
}

/** The projected image embedding `[N, projection]` (not normalised) of normalised `pixels` `[N, 3, S, S]`: `get_image_features`. */
export function buildClipImageEmbedding(scope: Scope, config: ClipConfig, pixels: Value): Value {
  const { vision } = config;
  const model = scope.at("vision_model");
  const embeddings = model.at("embeddings");
  const { width, patchSize, imageSize } = vision;
  const embedded = patchTokens(pixels, {
    imageSize,
    weight: embeddings.at("patch_embedding").parameter("weight", [width, 3, patchSize, patchSize]),
    classToken: reshape(embeddings.parameter("class_embedding", [width]), [1, width]),
    positions: embeddings
      .at("position_embedding")
      .parameter("weight", [1 + Math.floor(imageSize / patchSize) ** 2, width]),
  });
  const batch = batchOf(pixels);
  const length = staticSize(embedded, 1, "image tokens");
  const rows = layerNorm(model.at("pre_layrnorm"), toRows(embedded, "image tokens"), vision.epsilon);
  const encoded = reshape(buildClipEncoder(model, vision, { rows, batch, length }), [batch, length, vision.width]);
  const first = reshape(slice(encoded, 1, 0, 1), [batch, vision.width]);
  const pooled = layerNorm(model.at("post_layernorm"), first, vision.epsilon);
  return project(scope, config, "visual_projection", pooled);
}

function project(scope: Scope, { projection, projections }: ClipConfig, name: string, state: Value): Value {
  return projections === "matrix"
    ? gemm(state, scope.parameter(name, [staticSize(state, 1, name), projection]))
    : linear(scope.at(name), state, projection, { bias: false });
}

/** The learnt logarithm of the logits' scale, a scalar parameter. */
export function clipLogitScale(scope: Scope): Value {
  return scope.parameter("logit_scale", []);
}
