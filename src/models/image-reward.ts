/** @file ImageReward: from normalised pixels and prompt tokens to the score. */

import { div, reshape, sub } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { batchOf } from "../nn/dimension.js";
import type { Scope } from "../nn/scope.js";
import { type BlipTextInputs, buildBlipText, buildBlipVision } from "./blip.js";
import type { ImageRewardConfig } from "./image-reward-config.js";
import { buildLinearHead } from "./linear-head.js";

export { IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "./image-reward-config.js";
export type { ImageRewardConfig } from "./image-reward-config.js";

/** What the score is computed from. */
export interface ImageRewardInputs extends BlipTextInputs {
  /** `[N, 3, S, S]`, normalised as CLIP's images. */
  readonly pixels: Value;
}

/** The scores `[N]`: roughly standard normal for natural prompts and images. */
export function buildImageReward(scope: Scope, config: ImageRewardConfig, inputs: ImageRewardInputs): Value {
  const image = buildBlipVision(scope.at("blip", "visual_encoder"), config.vision, inputs.pixels);
  const state = buildBlipText(scope.at("blip", "text_encoder"), config.text, inputs, image);
  const head = buildLinearHead(scope.at("mlp", "layers"), config.head, state);
  return div(sub(reshape(head, [batchOf(inputs.ids)]), config.scoreMean), config.scoreStd);
}
