/** @file The shape of an ImageReward checkpoint, read from its own tensors, med_config.json and an optional config.json. */

import { ModelError } from "../errors.js";
import type { ActivationName } from "../nn/activation.js";
import { ACTIVATION_NAMES } from "../nn/activation.js";
import { ConfigReader, LIMITS } from "./config-reader.js";

/** ImageReward: BLIP's image-grounded text encoder and a head of plain linear layers. */
export interface ImageRewardConfig {
  readonly vision: {
    readonly imageSize: number;
    readonly patchSize: number;
    readonly width: number;
    readonly inner: number;
    readonly layers: number;
    readonly heads: number;
  };
  readonly text: {
    readonly vocabulary: number;
    readonly maxPositions: number;
    readonly width: number;
    readonly inner: number;
    readonly layers: number;
    readonly heads: number;
    readonly activation: ActivationName;
    readonly epsilon: number;
  };
  /** The head's layers: index below `mlp.layers` and output width. The indices between them are dropouts. */
  readonly head: readonly { readonly index: number; readonly width: number }[];
  /** Tokens a prompt is padded or cut to. */
  readonly maxTextLength: number;
  /** score = (head - scoreMean) / scoreStd */
  readonly scoreMean: number;
  readonly scoreStd: number;
}

/** Keys an ImageReward checkpoint holds beyond what the score uses. */
export const IMAGE_REWARD_IGNORED_KEYS: readonly RegExp[] = [/(^|\.)position_ids$/, /^blip\.(vision|text)_proj\./];

const VISION = "blip.visual_encoder";
const TEXT = "blip.text_encoder";

/**
 * The configuration of a checkpoint with the tensor shapes `shapes`. `med` is med_config.json (heads, activation, epsilon; its sizes
 * must agree with the tensors, except `encoder_width`, which the vision width overrides). `config` is an optional config.json of
 * Laurel's: `vision_heads` (@default width / 64), `max_text_length` (@default 35, or the number of
 * position embeddings if that is less), `score_mean` and `score_std` (@default the
 * released model's); a field it does not know is an error, as a misspelt one would change scores in silence. @throws ModelError naming `where`, the missing tensors or the field
 */
export function imageRewardConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  med: unknown,
  config: unknown,
  where: string,
): ImageRewardConfig {
  const found = readShapes(shapes, where);
  const { width, imageSize, patchSize } = found.vision;
  const own = new ConfigReader(config === undefined ? {} : config, `${where}: config.json`);
  const heads = own.integer("vision_heads", Math.max(1, Math.floor(width / 64)));
  if (width % heads !== 0) {
    own.fault(`vision_heads: expected a divisor of the width ${width}, got ${heads}`);
  }
  const maxTextLength = own.integer("max_text_length", Math.min(35, found.text.maxPositions), 1, LIMITS.tokens);
  if (maxTextLength > found.text.maxPositions) {
    own.fault(
      `max_text_length: expected at most ${found.text.maxPositions} (position embeddings), got ${maxTextLength}`,
    );
  }
  if (own.has("image_size") && own.integer("image_size") !== imageSize) {
    own.fault(`image_size: expected ${imageSize} (position embeddings), got ${JSON.stringify(own.raw("image_size"))}`);
  }
  if (own.has("patch_size") && own.integer("patch_size") !== patchSize) {
    own.fault(`patch_size: expected ${patchSize} (patch convolution), got ${JSON.stringify(own.raw("patch_size"))}`);
  }
  const [scoreMean, scoreStd] = [
    own.number("score_mean", 0.16717362830052426),
    own.positive("score_std", 1.0333394966054072),
  ];
  own.ignore("model_type", "architectures", "transformers_version", "torch_dtype", "dtype");
  own.rejectUnread();
  return own.finish({
    vision: { ...found.vision, heads },
    text: { ...found.text, ...readMed(med, found.text, `${where}: med_config.json`) },
    head: found.head,
    maxTextLength,
    scoreMean,
    scoreStd,
  });
}

type FoundText = Omit<ImageRewardConfig["text"], "heads" | "activation" | "epsilon">;

function readMed(
  med: unknown,
  text: FoundText,
  where: string,
): Pick<ImageRewardConfig["text"], "heads" | "activation" | "epsilon"> {
  const reader = new ConfigReader(med, where);
  reader.only("add_cross_attention", true);
  reader.only("position_embedding_type", "absolute");
  const sizes: [string, number][] = [
    ["hidden_size", text.width],
    ["intermediate_size", text.inner],
    ["num_hidden_layers", text.layers],
    ["max_position_embeddings", text.maxPositions],
    ["vocab_size", text.vocabulary],
  ];
  for (const [field, actual] of sizes) {
    if (reader.integer(field, actual) !== actual) {
      reader.fault(`${field}: expected ${actual} as in the checkpoint, got ${JSON.stringify(reader.raw(field))}`);
    }
  }
  const heads = reader.integer("num_attention_heads", 12);
  if (text.width % heads !== 0) {
    reader.fault(`num_attention_heads: expected a divisor of hidden_size ${text.width}, got ${heads}`);
  }
  return reader.finish({
    heads,
    activation: reader.oneOf("hidden_act", ACTIVATION_NAMES, "gelu"),
    epsilon: reader.positive("layer_norm_eps", 1e-12),
  });
}

function readShapes(
  shapes: ReadonlyMap<string, readonly number[]>,
  where: string,
): { vision: Omit<ImageRewardConfig["vision"], "heads">; text: FoundText; head: ImageRewardConfig["head"] } {
  const faults: string[] = [];
  const shapeOf = (key: string, rank: number): readonly number[] => {
    const shape = shapes.get(key);
    if (shape === undefined || shape.length !== rank) {
      faults.push(
        `${key}: expected a tensor of rank ${rank}, got ${shape === undefined ? "none" : `[${shape.join(",")}]`}`,
      );
      return new Array<number>(rank).fill(1);
    }
    if (shape.some((size) => size < 1 || size > LIMITS.size)) {
      faults.push(`${key}: expected sizes from 1 to ${LIMITS.size}, got [${shape.join(",")}]`);
    }
    return shape;
  };
  const [width = 1, , patchSize = 1] = shapeOf(`${VISION}.patch_embed.proj.weight`, 4);
  const [, tokens = 1] = shapeOf(`${VISION}.pos_embed`, 3);
  const side = Math.round(Math.sqrt(tokens - 1));
  if (side * side !== tokens - 1 && faults.length === 0) {
    faults.push(`${VISION}.pos_embed: expected 1 + a square number of positions, got ${tokens}`);
  }
  if (side * patchSize > LIMITS.side) {
    faults.push(
      `${VISION}.pos_embed: expected images of at most ${LIMITS.side} pixels a side, got ${side * patchSize}`,
    );
  }
  const [inner = 1] = shapeOf(`${VISION}.blocks.0.mlp.fc1.weight`, 2);
  const [vocabulary = 1, textWidth = 1] = shapeOf(`${TEXT}.embeddings.word_embeddings.weight`, 2);
  const [maxPositions = 1] = shapeOf(`${TEXT}.embeddings.position_embeddings.weight`, 2);
  const [textInner = 1] = shapeOf(`${TEXT}.encoder.layer.0.intermediate.dense.weight`, 2);
  const layers = {
    vision: countLayers(shapes, `${VISION}.blocks.`),
    text: countLayers(shapes, `${TEXT}.encoder.layer.`),
  };
  if (Math.max(layers.vision, layers.text) > LIMITS.layers) {
    faults.push(`expected at most ${LIMITS.layers} layers, got ${layers.vision} and ${layers.text}`);
  }
  const head = readHead(shapes);
  if (head.at(-1)?.width !== 1) {
    faults.push(`mlp.layers: expected linear layers ending in one output, got ${head.at(-1)?.width ?? "none"}`);
  }
  if (faults.length > 0) {
    throw new ModelError(`${where}: not an ImageReward checkpoint: ${faults.join("; ")}`);
  }
  const vision = { imageSize: side * patchSize, patchSize, width, inner, layers: layers.vision };
  return { vision, text: { vocabulary, maxPositions, width: textWidth, inner: textInner, layers: layers.text }, head };
}

/** Number of different indices after `prefix`; a gap shows as a missing key when the weights are resolved. */
function countLayers(shapes: ReadonlyMap<string, unknown>, prefix: string): number {
  const indices = [...shapes.keys()]
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length).split(".")[0]);
  return new Set(indices).size;
}

function readHead(shapes: ReadonlyMap<string, readonly number[]>): ImageRewardConfig["head"] {
  return [...shapes]
    .flatMap(([key, shape]) => {
      const index = /^mlp\.layers\.(\d+)\.weight$/.exec(key)?.[1];
      return index === undefined ? [] : [{ index: Number(index), width: shape[0] ?? 0 }];
    })
    .sort((a, b) => a.index - b.index);
}
