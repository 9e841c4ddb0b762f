/** @file UNet2DConditionModel of diffusers: Stable Diffusion's denoiser. */

import { InternalError } from "../errors.js";
import { add, concat, silu } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { Tokens } from "../nn/attention.js";
import { conv2d } from "../nn/conv2d.js";
import { batchOf, staticSize, toRows } from "../nn/dimension.js";
import { groupNorm } from "../nn/norm.js";
import type { Scope } from "../nn/scope.js";
import { timestepEmbedding, timestepSinusoids } from "../nn/timestep-embedding.js";
import { downsample, resnetBlock, upsample } from "./resnet-block.js";
import { transformer2d } from "./transformer-2d.js";
import { ADDED_SIZES, type UnetConfig, type UnetLevel } from "./unet-config.js";

export { ADDED_SIZES, parseUnetConfig } from "./unet-config.js";
export type { AddedEmbedding, UnetConfig, UnetLevel } from "./unet-config.js";

/** Keys a denoiser's file may hold beyond its parameters: none. */
export const UNET_IGNORED_KEYS: readonly RegExp[] = [];

/** What the denoiser reads. Height and width are static: a program is compiled for one size; the batch may be symbolic. */
export interface UnetInputs {
  /** `[N, inChannels, h, w]` */
  readonly sample: Value;
  /** float32 `[N]`, in training timesteps (0 to 999) */
  readonly timestep: Value;
  /** `[N, L, crossAttentionWidth]` */
  readonly encoderHiddenStates: Value;
  /** float32 `[N, timeConditionWidth]`; needed where the configuration has that width. */
  readonly timeCondition?: Value | undefined;
  /** Needed where the configuration has an added embedding. */
  readonly added?: AddedInputs | undefined;
}

/** What Stable Diffusion XL reads beside the text's tokens. */
export interface AddedInputs {
  /** `[N, pooledWidth]` */
  readonly pooled: Value;
  /** float32 `[N, 6]`: original height and width, top and left of the crop, target height and width, in pixels. */
  readonly sizes: Value;
}

/** What every block needs. */
interface Flow {
  readonly config: UnetConfig;
  readonly activeTime: Value;
  readonly context: Tokens;
}

/** The prediction `[N, outChannels, h, w]` (noise or velocity, as the model was trained). */
export function buildUnet(scope: Scope, config: UnetConfig, inputs: UnetInputs): Value {
  const { sample } = inputs;
  checkInputs(config, inputs);
  const first = config.levels[0] as UnetLevel;
  const last = config.levels.at(-1) as UnetLevel;
  const flow: Flow = {
    config,
    activeTime: silu(timeOf(scope, config, inputs, 4 * first.channels)),
    context: {
      rows: toRows(inputs.encoderHiddenStates, "encoderHiddenStates"),
      batch: batchOf(inputs.encoderHiddenStates),
      length: staticSize(inputs.encoderHiddenStates, 1, "encoderHiddenStates"),
    },
  };
  let hidden = conv2d(scope.at("conv_in"), sample, first.channels);
  const skips = [hidden];
  config.levels.forEach((level, index) => {
    const isLast = index === config.levels.length - 1;
    hidden = buildDown(scope.at("down_blocks", index), flow, level, hidden, skips, isLast);
  });
  if (config.midBlock) {
    hidden = buildMid(scope.at("mid_block"), flow, last, hidden);
  }
  [...config.levels].reverse().forEach((level, index) => {
    hidden = buildUp(scope.at("up_blocks", index), flow, level, hidden, skips);
  });
  const norm = { groups: config.groups, epsilon: config.epsilon };
  return conv2d(scope.at("conv_out"), silu(groupNorm(scope.at("conv_norm_out"), hidden, norm)), config.outChannels);
}

/** The embedding `[N, width]` of the timestep, and of what is added to it. */
function timeOf(scope: Scope, config: UnetConfig, inputs: UnetInputs, width: number): Value {
  const { timestep, timeCondition, added } = inputs;
  const sinusoids = timestepSinusoids(timestep, { ...config, channels: (config.levels[0] as UnetLevel).channels });
  const time = timestepEmbedding(scope.at("time_embedding"), sinusoids, width, timeCondition);
  if (added === undefined || config.addedEmbedding === undefined) return time;
  const sizes = timestepSinusoids(added.sizes, { ...config, channels: config.addedEmbedding.sizeChannels });
  return add(time, timestepEmbedding(scope.at("add_embedding"), concat([added.pooled, sizes], 1), width));
}

/** Resnets with attention after each, then half the size; every intermediate result is kept for the way up. */
function buildDown(scope: Scope, flow: Flow, level: UnetLevel, x: Value, skips: Value[], isLast: boolean): Value {
  let hidden = x;
  for (let index = 0; index < level.layers; index++) {
    hidden = layer(scope, flow, level, hidden, index, level.downAttention);
    skips.push(hidden);
  }
  if (!isLast) {
    hidden = downsample(scope.at("downsamplers", 0), hidden, flow.config.downsamplePadding);
    skips.push(hidden);
  }
  return hidden;
}

function buildMid(scope: Scope, flow: Flow, level: UnetLevel, x: Value): Value {
  const attended = layer(scope, flow, level, x, 0, true);
  return layer(scope, flow, level, attended, 1, false);
}

/** One resnet more than on the way down, each reading the kept result beside its input, then the size of the level above. */
function buildUp(scope: Scope, flow: Flow, level: UnetLevel, x: Value, skips: Value[]): Value {
  let hidden = x;
  for (let index = 0; index <= level.layers; index++) {
    const skip = skips.pop();
    if (skip === undefined) {
      throw new InternalError(`${scope.prefix}: expected a kept result for resnet ${index}, got none`);
    }
    hidden = layer(scope, flow, level, concat([hidden, skip], 1), index, level.upAttention);
  }
  const above = skips.at(-1);
  if (above === undefined) {
    return hidden;
  }
  const size = [staticSize(above, 2, scope.prefix), staticSize(above, 3, scope.prefix)] as const;
  return upsample(scope.at("upsamplers", 0), hidden, size);
}

function layer(scope: Scope, flow: Flow, level: UnetLevel, x: Value, index: number, attends: boolean): Value {
  const { groups, epsilon, linearProjection } = flow.config;
  const hidden = resnetBlock(scope.at("resnets", index), x, level.channels, { groups, epsilon }, flow.activeTime);
  if (!attends) {
    return hidden;
  }
  const options = { heads: level.heads, layers: level.transformerLayers, groups, linearProjection };
  return transformer2d(scope.at("attentions", index), hidden, flow.context, options);
}

function checkInputs(config: UnetConfig, inputs: UnetInputs): void {
  const { sample, timestep, encoderHiddenStates, timeCondition, added } = inputs;
  if (timeCondition?.shape[1] !== config.timeConditionWidth) {
    const [expected, actual] = [config.timeConditionWidth, timeCondition?.shape[1]].map((width) => width ?? "no");
    throw new InternalError(`timeCondition: expected ${expected} channels, got ${actual}`);
  }
  const expected: [string, Value, number, number][] = [
    ["sample", sample, 4, config.inChannels],
    ["encoderHiddenStates", encoderHiddenStates, 3, config.crossAttentionWidth],
  ];
  for (const [name, value, rank, width] of expected) {
    if (value.shape.length !== rank || value.shape[rank === 4 ? 1 : 2] !== width) {
      throw new InternalError(`${name}: expected rank ${rank} with ${width} channels, got [${value.shape.join(",")}]`);
    }
  }
  const wanted = config.addedEmbedding === undefined ? "none" : `${config.addedEmbedding.pooledWidth},${ADDED_SIZES}`;
  const given = added === undefined ? "none" : `${added.pooled.shape[1]},${added.sizes.shape[1]}`;
  if (given !== wanted) throw new InternalError(`added: expected widths ${wanted}, got ${given}`);
  if (timestep.shape.length !== 1 || timestep.dtype !== "float32") {
    throw new InternalError(`timestep: expected float32 [N], got ${timestep.dtype} [${timestep.shape.join(",")}]`);
  }
}
