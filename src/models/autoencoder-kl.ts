/** @file AutoencoderKL of diffusers: images to latents and back. */

import { InternalError } from "../errors.js";
import { add, clip, reshape, silu, split, transpose } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { attention, DIFFUSERS_BIASED_PROJECTIONS } from "../nn/attention.js";
import { conv2d } from "../nn/conv2d.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { groupNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { ConfigReader, LIMITS } from "./config-reader.js";
import type { GroupNormOptions } from "./resnet-block.js";
import { downsample, resnetBlock, upsample } from "./resnet-block.js";

/** The parts of an autoencoder's configuration that the computation depends on. */
export interface AutoencoderConfig {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly latentChannels: number;
  /** Channels of each level, from the finest; each level but the last halves the size. */
  readonly channels: readonly number[];
  readonly layers: number;
  readonly groups: number;
  readonly midAttention: boolean;
  readonly quantConv: boolean;
  readonly postQuantConv: boolean;
  /** The denoiser works on (latents - shiftFactor) * scalingFactor. */
  readonly scalingFactor: number;
  readonly shiftFactor: number;
  /** Mean and standard deviation of each latent channel, which the denoiser's latents have not; undefined where the file states neither. */
  readonly latents: LatentStatistics | undefined;
}

/** Per latent channel: the denoiser works on (latents - mean) * scalingFactor / deviation. */
export interface LatentStatistics {
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** Keys an autoencoder's file may hold beyond its parameters: none. */
export const AUTOENCODER_IGNORED_KEYS: readonly RegExp[] = [];
/** Keys that the decoder does not use: to be ignored when only that graph is compiled. */
export const AUTOENCODER_KEYS_BEYOND_DECODER: readonly RegExp[] = [/^encoder\./, /^quant_conv\./];
/** Keys that the encoder does not use. */
export const AUTOENCODER_KEYS_BEYOND_ENCODER: readonly RegExp[] = [/^decoder\./, /^post_quant_conv\./];

const EPSILON = 1e-6;

/** Parses an AutoencoderKL's config.json with diffusers' defaults. @throws ModelError with every fault */
export function parseAutoencoderConfig(json: unknown, where: string): AutoencoderConfig {
  const reader = new ConfigReader(json, where);
  reader.only("_class_name", "AutoencoderKL");
  const channels = reader.integers("block_out_channels", [64]);
  const types = [
    ["down_block_types", "DownEncoderBlock2D"],
    ["up_block_types", "UpDecoderBlock2D"],
  ] as const;
  for (const [field, type] of types) {
    const count = reader.words(field, [type], [type]).length;
    if (count !== channels.length) {
      reader.fault(`${field}: expected ${channels.length} as block_out_channels, got ${count}`);
    }
  }
  const groups = reader.integer("norm_num_groups", 32);
  channels.forEach((count) => {
    if (count % groups !== 0) {
      reader.fault(`norm_num_groups: expected a divisor of block_out_channels' ${count}, got ${groups}`);
    }
  });
  reader.only("act_fn", "silu");
  reader.ignore("sample_size", "force_upcast");
  const config: AutoencoderConfig = {
    inChannels: reader.integer("in_channels", 3),
    outChannels: reader.integer("out_channels", 3),
    latentChannels: reader.integer("latent_channels", 4),
    channels,
    layers: reader.integer("layers_per_block", 1, 1, LIMITS.layers),
    groups,
    midAttention: reader.boolean("mid_block_add_attention", true),
    quantConv: reader.boolean("use_quant_conv", true),
    postQuantConv: reader.boolean("use_post_quant_conv", true),
    scalingFactor: reader.positive("scaling_factor", 0.18215),
    shiftFactor: reader.number("shift_factor", 0),
    latents: readLatentStatistics(reader),
  };
  reader.rejectUnread();
  return reader.finish(config);
}

/** Both lists or neither, one number for each latent channel. */
function readLatentStatistics(reader: ConfigReader): LatentStatistics | undefined {
  const fields = ["latents_mean", "latents_std"] as const;
  const [mean, deviation] = fields.map((field) => (reader.has(field) ? reader.numbers(field) : undefined));
  if (mean === undefined && deviation === undefined) return undefined;
  const channels = reader.integer("latent_channels", 4);
  if (mean?.length !== channels || deviation?.length !== channels || !deviation.every((one) => one > 0)) {
    reader.fault(
      `latents_mean, latents_std: expected ${channels} numbers each as latent_channels, the second all above 0, got ${mean?.length ?? "no"} and ${deviation?.length ?? "no"}`,
    );
    return undefined;
  }
  return { mean, deviation };
}

/** Pixels a latent stands for in each direction. */
export function autoencoderFactor(config: AutoencoderConfig): number {
  return 2 ** (config.channels.length - 1);
}

/**
 * The posterior of `image` `[N, 3, H, W]` in [-1, 1], H and W divisible by the factor: mean and log variance (clamped to [-30, 20]),
 * each `[N, latentChannels, H / factor, W / factor]`, not scaled by scalingFactor.
 */
export function buildEncoder(
  scope: Scope,
  config: AutoencoderConfig,
  image: Value,
): { mean: Value; logVariance: Value } {
  const factor = autoencoderFactor(config);
  if ([2, 3].some((axis) => staticSize(image, axis, "image") % factor !== 0)) {
    throw new InternalError(`image: expected sides divisible by ${factor}, got ${image.shape.slice(2).join("x")}`);
  }
  const norm: GroupNormOptions = { groups: config.groups, epsilon: EPSILON };
  const encoder = scope.at("encoder");
  const last = config.channels.length - 1;
  let hidden = conv2d(encoder.at("conv_in"), image, config.channels[0] as number);
  config.channels.forEach((channels, index) => {
    const block = encoder.at("down_blocks", index);
    for (let layer = 0; layer < config.layers; layer++) {
      hidden = resnetBlock(block.at("resnets", layer), hidden, channels, norm);
    }
    if (index < last) {
      hidden = downsample(block.at("downsamplers", 0), hidden, 0);
    }
  });
  hidden = buildMid(encoder.at("mid_block"), config, hidden, norm);
  const moments = 2 * config.latentChannels;
  hidden = conv2d(encoder.at("conv_out"), silu(groupNorm(encoder.at("conv_norm_out"), hidden, norm)), moments);
  if (config.quantConv) {
    hidden = conv2d(scope.at("quant_conv"), hidden, moments, { kernel: 1 });
  }
  const [mean, logVariance] = split(hidden, [config.latentChannels, config.latentChannels], 1) as [Value, Value];
  return { mean, logVariance: clip(logVariance, -30, 20) };
}

/** The image `[N, 3, h * factor, w * factor]`, about [-1, 1], of `latents` `[N, latentChannels, h, w]` divided by scalingFactor. */
export function buildDecoder(scope: Scope, config: AutoencoderConfig, latents: Value): Value {
  const norm: GroupNormOptions = { groups: config.groups, epsilon: EPSILON };
  const decoder = scope.at("decoder");
  const reversed = [...config.channels].reverse();
  const input = config.postQuantConv
    ? conv2d(scope.at("post_quant_conv"), latents, config.latentChannels, { kernel: 1 })
    : latents;
  let hidden = conv2d(decoder.at("conv_in"), input, reversed[0] as number);
  hidden = buildMid(decoder.at("mid_block"), config, hidden, norm);
  reversed.forEach((channels, index) => {
    const block = decoder.at("up_blocks", index);
    for (let layer = 0; layer <= config.layers; layer++) {
      hidden = resnetBlock(block.at("resnets", layer), hidden, channels, norm);
    }
    if (index < reversed.length - 1) {
      hidden = upsample(block.at("upsamplers", 0), hidden);
    }
  });
  return conv2d(decoder.at("conv_out"), silu(groupNorm(decoder.at("conv_norm_out"), hidden, norm)), config.outChannels);
}

/** Resnet, attention of one head over all pixels, resnet. */
function buildMid(scope: Scope, config: AutoencoderConfig, x: Value, norm: GroupNormOptions): Value {
  const channels = staticSize(x, 1, scope.prefix);
  let hidden = resnetBlock(scope.at("resnets", 0), x, channels, norm);
  if (config.midAttention) {
    hidden = pixelAttention(scope.at("attentions", 0), hidden, norm);
  }
  return resnetBlock(scope.at("resnets", 1), hidden, channels, norm);
}

function pixelAttention(scope: Scope, x: Value, norm: GroupNormOptions): Value {
  const [batch, channels] = [batchOf(x), staticSize(x, 1, scope.prefix)];
  const length = staticSize(x, 2, scope.prefix) * staticSize(x, 3, scope.prefix);
  const flat = reshape(groupNorm(scope.at("group_norm"), x, norm), [batch, channels, length]);
  const rows = toRows(transpose(flat, [0, 2, 1]), scope.prefix);
  const mixed = attention(scope, DIFFUSERS_BIASED_PROJECTIONS, { rows, batch, length }, undefined, { heads: 1 });
  return add(reshape(transpose(reshape(mixed, [batch, length, channels]), [0, 2, 1]), x.shape), x);
}
