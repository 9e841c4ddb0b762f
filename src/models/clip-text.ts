/** @file CLIPTextModel of transformers: the text encoder of Stable Diffusion 1.x and 2.x, and CLIP's text tower. */

import { InternalError } from "../errors.js";
import { add, argMax, cast, constant, equal, matMul, reshape, slice, unsqueeze, where } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { embedding } from "../nn/linear.js";
import { layerNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { float32, int64 } from "../tensor/tensor.js";
import type { ClipTowerConfig } from "./clip-encoder.js";
import { buildClipEncoder, readClipTower } from "./clip-encoder.js";
import { ConfigReader, LIMITS } from "./config-reader.js";

/** What config.json of a text encoder says. */
export interface ClipTextConfig extends ClipTowerConfig {
  readonly vocabulary: number;
  readonly maxPositions: number;
  /** 2 is the historical value of SD 1.x: the end of text is then the largest id of a row. */
  readonly eosTokenId: number;
}

/** Keys a text encoder's file may hold beyond its parameters. */
export const CLIP_TEXT_IGNORED_KEYS: readonly RegExp[] = [/(^|\.)position_ids$/];

/** Parses a CLIPTextConfig with its class's defaults. `where` names the file in errors. @throws ModelError */
export function parseClipTextConfig(json: unknown, where: string): ClipTextConfig {
  const reader = new ConfigReader(json, where);
  reader.only("model_type", "clip_text_model");
  return reader.finish({
    ...readClipTower(reader, { width: 512, inner: 2048, layers: 12, heads: 8 }),
    vocabulary: reader.integer("vocab_size", 49408),
    maxPositions: reader.integer("max_position_embeddings", 77, 1, LIMITS.tokens),
    eosTokenId: reader.integer("eos_token_id", 49407, 0),
  });
}

/** What a caller may change of the text model. */
export interface ClipTextOptions {
  /** Layers left out at the end; the final norm stays, as in diffusers' `clip_skip`. @default 0 */
  readonly skippedLayers?: number | undefined;
  /** Token embeddings given from outside: float32 `vectors` `[N, L, width]` where bool `given` `[N, L, 1]` holds, the table's elsewhere. */
  readonly replacement?: { readonly given: Value; readonly vectors: Value } | undefined;
}

/**
 * The text model under `text_model.*`, for int64 `ids` `[N, L]`, L static. Every token sees itself and those before it; padding is
 * not masked, as in the reference pipelines.
 * @returns `lastHiddenState` `[N, L, width]` after the final norm, and `pooled` `[N, width]`, its row at the end of text
 */
export function buildClipText(
  scope: Scope,
  config: ClipTextConfig,
  ids: Value,
  { skippedLayers = 0, replacement }: ClipTextOptions = {},
): { lastHiddenState: Value; pooled: Value } {
  const model = scope.at("text_model");
  const batch = batchOf(ids);
  const length = staticSize(ids, 1, "text ids");
  if (length > config.maxPositions) {
    throw new InternalError(`text ids: expected at most ${config.maxPositions} tokens, got ${length}`);
  }
  const embeddings = model.at("embeddings");
  const known = embedding(embeddings.at("token_embedding"), ids, config.vocabulary, config.width);
  const words = replacement === undefined ? known : where(replacement.given, replacement.vectors, known);
  const table = embeddings.at("position_embedding").parameter("weight", [config.maxPositions, config.width]);
  const positions = length === config.maxPositions ? table : slice(table, 0, 0, length);
  const rows = toRows(add(words, positions), "text embeddings");
  const used = { ...config, layers: config.layers - skippedLayers };
  const encoded = buildClipEncoder(model, used, { rows, batch, length }, causalMask(length));
  const normed = layerNorm(model.at("final_layer_norm"), encoded, config.epsilon);
  const lastHiddenState = reshape(normed, [batch, length, config.width]);
  return { lastHiddenState, pooled: atEndOfText(lastHiddenState, ids, length, config) };
}

/** `[1, 1, L, L]`: 0 where a query may look, a number that no score survives where it may not. */
function causalMask(length: number): Value {
  const mask = new Float32Array(length * length);
  for (let query = 0; query < length; query++) {
    mask.fill(-1e9, query * length + query + 1, (query + 1) * length);
  }
  return constant(float32([1, 1, length, length], mask));
}

/** The row of each text at its end: the first `eosTokenId`, or for the historical 2 the largest id. A product with a one-hot row. */
function atEndOfText(hidden: Value, ids: Value, length: number, config: ClipTextConfig): Value {
  const found = config.eosTokenId === 2 ? ids : equal(ids, config.eosTokenId);
  // Ids are below 2^24, exact in float32; ArgMax takes the first of equals.
  const end = argMax(cast(found, "float32"), 1, true);
  const positions = constant(
    int64(
      [1, length],
      Array.from({ length }, (_, index) => index),
    ),
  );
  const oneHot = unsqueeze(cast(equal(end, positions), "float32"), [1]);
  return reshape(matMul(oneHot, hidden), [batchOf(ids), config.width]);
}
