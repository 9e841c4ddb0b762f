/** @file CLIPTextModel of transformers: the text encoder of Stable Diffusion 1.x and 2.x, and CLIP's text tower. */

import { InternalError } from "../errors.js";
import { add, argMax, cast, constant, equal, matMul, reshape, slice, unsqueeze, where } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { embedding, linear } from "../nn/linear.js";
import { layerNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { float32, int64 } from "../tensor/tensor.js";
import type { ClipTowerConfig } from "./clip-encoder.js";
import { buildClipLayers, readClipTower } from "./clip-encoder.js";
import { ConfigReader, LIMITS } from "./config-reader.js";

/** What config.json of a text encoder says. */
export interface ClipTextConfig extends ClipTowerConfig {
  readonly vocabulary: number;
  readonly maxPositions: number;
  /** 2 is the historical value of SD 1.x: the end of text is then the largest id of a row. */
  readonly eosTokenId: number;
  /** Width of `text_projection`, which only a CLIPTextModelWithProjection has. */
  readonly projection: number;
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
    projection: reader.integer("projection_dim", 512),
  });
}

/** What a caller may change of the text model. */
export interface ClipTextOptions {
  /** Layers left out at the end; the final norm stays, as in diffusers' `clip_skip` of Stable Diffusion 1.x and 2.x. @default 0 */
  readonly skippedLayers?: number | undefined;
  /** Token embeddings given from outside: float32 `vectors` `[N, L, width]` where bool `given` `[N, L, 1]` holds, the table's elsewhere. */
  readonly replacement?: { readonly given: Value; readonly vectors: Value } | undefined;
}

/** What the text model gives. */
export interface ClipTextOutputs {
  /** `[N, L, width]` after the final norm. */
  readonly lastHiddenState: Value;
  /** `[N, width]`: the row of `lastHiddenState` at the end of text. */
  readonly pooled: Value;
}

/**
 * The text model under `text_model.*`, for int64 `ids` `[N, L]`, L static. Every token sees itself and those before it; padding is
 * not masked, as in the reference pipelines.
 */
export function buildClipText(
  scope: Scope,
  config: ClipTextConfig,
  ids: Value,
  { skippedLayers = 0, replacement }: ClipTextOptions = {},
): ClipTextOutputs {
  const model = scope.at("text_model");
  const layers = buildTextLayers(model, { ...config, layers: config.layers - skippedLayers }, ids, replacement);
  return finishText(model, config, ids, layers.at(-1) as Value);
}

/** What Stable Diffusion XL takes of a text encoder. */
export interface InnerTextOutputs extends ClipTextOutputs {
  /** `[N, L, width]` for each number of layers, from none to all; no norm follows them. */
  readonly hiddenStates: readonly Value[];
}

/** The same with the state after every layer, as `output_hidden_states` of the reference gives them. */
export function buildClipTextStates(
  scope: Scope,
  config: ClipTextConfig,
  ids: Value,
  { replacement }: Pick<ClipTextOptions, "replacement"> = {},
): InnerTextOutputs {
  const model = scope.at("text_model");
  const layers = buildTextLayers(model, config, ids, replacement);
  const shape = [batchOf(ids), staticSize(ids, 1, "text ids"), config.width];
  return {
    ...finishText(model, config, ids, layers.at(-1) as Value),
    hiddenStates: layers.map((rows) => reshape(rows, shape)),
  };
}

/** `text_projection` of CLIPTextModelWithProjection: `pooled` `[N, width]` to `[N, projection]`. */
export function projectText(scope: Scope, config: ClipTextConfig, pooled: Value): Value {
  return linear(scope.at("text_projection"), pooled, config.projection, { bias: false });
}

/** The rows `[N * L, width]` before the first layer and after each. */
function buildTextLayers(
  model: Scope,
  config: ClipTextConfig,
  ids: Value,
  replacement: ClipTextOptions["replacement"],
): readonly Value[] {
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
  return buildClipLayers(model, config, { rows, batch, length }, causalMask(length));
}

function finishText(model: Scope, config: ClipTextConfig, ids: Value, rows: Value): ClipTextOutputs {
  const length = staticSize(ids, 1, "text ids");
  const normed = layerNorm(model.at("final_layer_norm"), rows, config.epsilon);
  const lastHiddenState = reshape(normed, [batchOf(ids), length, config.width]);
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
