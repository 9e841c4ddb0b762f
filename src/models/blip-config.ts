/** @file The shape of BLIP's encoders, read from a checkpoint's tensors and med_config.json. */

import { ModelError } from "../errors.js";
import type { ActivationName } from "../nn/activation.js";
import { ACTIVATION_NAMES } from "../nn/activation.js";
import { ConfigReader, LIMITS } from "./config-reader.js";

/** The vision transformer. */
export interface BlipVisionConfig {
  readonly imageSize: number;
  readonly patchSize: number;
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
}

/** BERT. */
export interface BlipTextConfig {
  readonly vocabulary: number;
  readonly maxPositions: number;
  readonly width: number;
  readonly inner: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: ActivationName;
  readonly epsilon: number;
}

/** What the tensors tell of the vision transformer. */
export type BlipVisionShape = Omit<BlipVisionConfig, "heads">;
/** What the tensors tell of BERT. */
export type BlipTextShape = Omit<BlipTextConfig, "heads" | "activation" | "epsilon">;

/** Reads sizes off a checkpoint's tensors and collects what is wrong with them. */
export class ShapeReader {
  readonly faults: string[] = [];

  constructor(readonly shapes: ReadonlyMap<string, readonly number[]>) {}

  /** The shape of the tensor `key`; ones where it is missing or of another rank. */
  of(key: string, rank: number): readonly number[] {
    const shape = this.shapes.get(key);
    if (shape === undefined || shape.length !== rank) {
      this.faults.push(
        `${key}: expected a tensor of rank ${rank}, got ${shape === undefined ? "none" : `[${shape.join(",")}]`}`,
      );
      return new Array<number>(rank).fill(1);
    }
    if (shape.some((size) => size < 1 || size > LIMITS.size)) {
      this.faults.push(`${key}: expected sizes from 1 to ${LIMITS.size}, got [${shape.join(",")}]`);
    }
    return shape;
  }

  /** Number of different indices after `prefix`; a gap shows as a missing key when the weights are resolved. */
  count(prefix: string): number {
    const indices = [...this.shapes.keys()]
      .filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length).split(".")[0]);
    return new Set(indices).size;
  }

  /** @throws ModelError with all faults behind `what` */
  finish(what: string): void {
    if (this.faults.length > 0) throw new ModelError(`${what}: ${this.faults.join("; ")}`);
  }
}

/** The sizes of both encoders, whose keys begin with `names`. */
export function readBlipShapes(
  reader: ShapeReader,
  names: { readonly vision: string; readonly text: string },
): { vision: BlipVisionShape; text: BlipTextShape } {
  const { vision, text } = names;
  const [width = 1, , patchSize = 1] = reader.of(`${vision}.patch_embed.proj.weight`, 4);
  const [, tokens = 1] = reader.of(`${vision}.pos_embed`, 3);
  const side = Math.round(Math.sqrt(tokens - 1));
  if (side * side !== tokens - 1 && reader.faults.length === 0) {
    reader.faults.push(`${vision}.pos_embed: expected 1 + a square number of positions, got ${tokens}`);
  }
  if (side * patchSize > LIMITS.side) {
    reader.faults.push(
      `${vision}.pos_embed: expected images of at most ${LIMITS.side} pixels a side, got ${side * patchSize}`,
    );
  }
  const [inner = 1] = reader.of(`${vision}.blocks.0.mlp.fc1.weight`, 2);
  const [vocabulary = 1, textWidth = 1] = reader.of(`${text}.embeddings.word_embeddings.weight`, 2);
  const [maxPositions = 1] = reader.of(`${text}.embeddings.position_embeddings.weight`, 2);
  const [textInner = 1] = reader.of(`${text}.encoder.layer.0.intermediate.dense.weight`, 2);
  const layers = { vision: reader.count(`${vision}.blocks.`), text: reader.count(`${text}.encoder.layer.`) };
  if (Math.max(layers.vision, layers.text) > LIMITS.layers) {
    reader.faults.push(`expected at most ${LIMITS.layers} layers, got ${layers.vision} and ${layers.text}`);
  }
  return {
    vision: { imageSize: side * patchSize, patchSize, width, inner, layers: layers.vision },
    text: { vocabulary, maxPositions, width: textWidth, inner: textInner, layers: layers.text },
  };
}

/** What med_config.json adds; its sizes must agree with the tensors, except `encoder_width`, which the vision width overrides. */
export function readBlipMed(
  med: unknown,
  text: BlipTextShape,
  where: string,
): Pick<BlipTextConfig, "heads" | "activation" | "epsilon"> {
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
