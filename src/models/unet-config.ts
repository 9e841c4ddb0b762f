/** @file UNet2DConditionModel's config.json: what is supported, and diffusers' defaults. */

import { ConfigReader, LIMITS } from "./config-reader.js";

const DOWN_BLOCKS = ["CrossAttnDownBlock2D", "DownBlock2D"] as const;
const UP_BLOCKS = ["CrossAttnUpBlock2D", "UpBlock2D"] as const;

/** One level of the UNet, from the finest. */
export interface UnetLevel {
  readonly channels: number;
  readonly layers: number;
  /** Attention on the way down. */
  readonly downAttention: boolean;
  /** Attention on the way up. */
  readonly upAttention: boolean;
  readonly heads: number;
  /** Transformer blocks in each attention. */
  readonly transformerLayers: number;
}

/** The parts of a UNet's configuration that the computation depends on. */
export interface UnetConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  /** Side of the latents the model was trained on; undefined when the file does not say. */
  readonly sampleSize: number | undefined;
  readonly levels: readonly UnetLevel[];
  /** False when the file sets mid_block_type to null. */
  readonly midBlock: boolean;
  readonly groups: number;
  readonly epsilon: number;
  readonly crossAttentionWidth: number;
  readonly linearProjection: boolean;
  readonly flipSinToCos: boolean;
  readonly freqShift: number;
  readonly downsamplePadding: 0 | 1;
  /** Width of a second input of the timestep embedding, which distilled models are given the guidance scale by; undefined without one. */
  readonly timeConditionWidth: number | undefined;
  /** What is added to the timestep's embedding (`addition_embed_type` "text_time" of Stable Diffusion XL); undefined without it. */
  readonly addedEmbedding: AddedEmbedding | undefined;
}

/** A pooled text and the sizes of a picture, embedded beside the timestep. */
export interface AddedEmbedding {
  /** Width of the pooled text. */
  readonly pooledWidth: number;
  /** Sines and cosines of one size. */
  readonly sizeChannels: number;
}

/** Sizes that Stable Diffusion XL reads: original height and width, top and left of the crop, target height and width. */
export const ADDED_SIZES = 6;

/** Fields that would change the computation, with the one value that is supported. */
const ONLY: Readonly<Record<string, unknown>> = {
  act_fn: "silu",
  attention_type: "default",
  center_input_sample: false,
  class_embed_type: undefined,
  class_embeddings_concat: false,
  conv_in_kernel: 3,
  conv_out_kernel: 3,
  cross_attention_norm: undefined,
  dual_cross_attention: false,
  encoder_hid_dim: undefined,
  encoder_hid_dim_type: undefined,
  mid_block_only_cross_attention: false,
  mid_block_scale_factor: 1,
  num_attention_heads: undefined,
  num_class_embeds: undefined,
  only_cross_attention: false,
  resnet_out_scale_factor: 1,
  resnet_skip_time_act: false,
  resnet_time_scale_shift: "default",
  reverse_transformer_layers_per_block: undefined,
  time_embedding_act_fn: undefined,
  time_embedding_dim: undefined,
  time_embedding_type: "positional",
  timestep_post_act: undefined,
};

/** Parses a UNet2DConditionModel's config.json. `where` names the file in errors. @throws ModelError with every fault */
export function parseUnetConfig(json: unknown, where: string): UnetConfig {
  const reader = new ConfigReader(json, where);
  reader.only("_class_name", "UNet2DConditionModel");
  Object.entries(ONLY).forEach(([field, supported]) => reader.only(field, supported));
  // Half-precision matters, sizes of unused parts, and dropout do not change float32 inference.
  reader.ignore("addition_embed_type_num_heads", "dropout", "upcast_attention");
  const levels = readLevels(reader);
  const groups = reader.integer("norm_num_groups", 32);
  levels.forEach(({ channels }) => {
    if (channels % groups !== 0) {
      reader.fault(`norm_num_groups: expected a divisor of block_out_channels' ${channels}, got ${groups}`);
    }
  });
  if (reader.has("mid_block_type")) {
    reader.oneOf("mid_block_type", ["UNetMidBlock2DCrossAttn"]);
  }
  const config: UnetConfig = {
    inChannels: reader.integer("in_channels", 4),
    outChannels: reader.integer("out_channels", 4),
    sampleSize: readSampleSize(reader),
    levels,
    midBlock: !isNullMidBlock(json),
    groups,
    epsilon: reader.positive("norm_eps", 1e-5),
    crossAttentionWidth: reader.integer("cross_attention_dim", 1280),
    linearProjection: reader.boolean("use_linear_projection", false),
    flipSinToCos: reader.boolean("flip_sin_to_cos", true),
    freqShift: reader.number("freq_shift", 0),
    downsamplePadding: reader.integer("downsample_padding", 1, 0) === 0 ? 0 : 1,
    timeConditionWidth: reader.has("time_cond_proj_dim") ? reader.integer("time_cond_proj_dim") : undefined,
    addedEmbedding: readAddedEmbedding(reader),
  };
  if (![0, 1].includes(reader.integer("downsample_padding", 1, 0))) {
    reader.fault(`downsample_padding: expected 0 or 1, got ${JSON.stringify(reader.raw("downsample_padding"))}`);
  }
  reader.rejectUnread();
  return reader.finish(config);
}

/** The width of the pooled text is what the sizes leave of the embedding's input. */
function readAddedEmbedding(reader: ConfigReader): AddedEmbedding | undefined {
  reader.only("addition_embed_type", reader.has("addition_embed_type") ? "text_time" : undefined);
  if (!reader.has("addition_embed_type")) {
    reader.ignore("addition_time_embed_dim");
    reader.only("projection_class_embeddings_input_dim", undefined);
    return undefined;
  }
  const sizeChannels = reader.integer("addition_time_embed_dim", undefined, 2);
  const inputs = reader.integer("projection_class_embeddings_input_dim");
  const pooledWidth = inputs - ADDED_SIZES * sizeChannels;
  if (sizeChannels % 2 !== 0 || pooledWidth < 1) {
    reader.fault(
      `addition_time_embed_dim, projection_class_embeddings_input_dim: expected an even width of which ${ADDED_SIZES} and a pooled text make the input, got ${sizeChannels} and ${inputs}`,
    );
  }
  return { pooledWidth, sizeChannels };
}

/** One number, or the same number twice; undefined when the file does not say. */
function readSampleSize(reader: ConfigReader): number | undefined {
  const value = reader.raw("sample_size");
  if (Array.isArray(value) && value.length === 2 && value[0] === value[1]) {
    return reader.integers("sample_size")[0];
  }
  return value === undefined ? undefined : reader.integer("sample_size", undefined, 1, LIMITS.side);
}

/** Here null is a value: no middle block. */
function isNullMidBlock(json: unknown): boolean {
  return (json as { mid_block_type?: unknown }).mid_block_type === null;
}

function readLevels(reader: ConfigReader): UnetLevel[] {
  const down = reader.words("down_block_types", DOWN_BLOCKS, [
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
    "DownBlock2D",
  ]);
  const up = reader.words("up_block_types", UP_BLOCKS, [
    "UpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
    "CrossAttnUpBlock2D",
  ]);
  const channels = reader.integers("block_out_channels", [320, 640, 1280, 1280]);
  const count = channels.length;
  if (down.length !== count || up.length !== count) {
    reader.fault(
      `down_block_types, up_block_types: expected ${count} each as block_out_channels, got ${down.length}, ${up.length}`,
    );
  }
  if (channels[0] !== undefined && channels[0] % 2 !== 0) {
    reader.fault(
      `block_out_channels: expected an even first entry (the timestep's sines and cosines), got ${channels[0]}`,
    );
  }
  const layers = reader.perBlock("layers_per_block", count, 2, LIMITS.layers);
  // A misnomer that diffusers keeps: attention_head_dim is the number of heads.
  const heads = reader.perBlock("attention_head_dim", count, 8);
  const transformerLayers = reader.perBlock("transformer_layers_per_block", count, 1, LIMITS.layers);
  const blocks = layers.reduce((sum, count, index) => sum + count * (transformerLayers[index] ?? 1), 0);
  if (blocks > LIMITS.layers) {
    reader.fault(
      `layers_per_block, transformer_layers_per_block: expected at most ${LIMITS.layers} blocks in all, got ${blocks}`,
    );
  }
  return channels.map((width, index) => {
    const level: UnetLevel = {
      channels: width,
      layers: layers[index] ?? 1,
      downAttention: down[index] === "CrossAttnDownBlock2D",
      upAttention: up[count - 1 - index] === "CrossAttnUpBlock2D",
      heads: heads[index] ?? 1,
      transformerLayers: transformerLayers[index] ?? 1,
    };
    const attends = level.downAttention || level.upAttention || index === count - 1;
    if (attends && width % level.heads !== 0) {
      reader.fault(`attention_head_dim: expected a number of heads that divides ${width} channels, got ${level.heads}`);
    }
    return level;
  });
}
