/** @file ImageReward's network as a part of larger graphs: from pixels and the prompt's WordPiece tokens to the score. */

import { input } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { CLIP_PREPROCESSING } from "../image/preprocess.js";
import { buildImageReward, type ImageRewardConfig } from "../models/image-reward.js";
import { batchOf } from "../nn/dimension.js";
import type { Scope } from "../nn/scope.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import type { WeightEntry } from "../weights/types.js";
import { wordPieceFeeds } from "./batched.js";
import { inputName, type RewardNetwork, type TextFeeds } from "./contract.js";

/** Its text inputs are `ids` and `mask`, int64 `[N, maxTextLength]`. */
export class ImageRewardNetwork implements RewardNetwork {
  readonly imageSize: number;
  readonly preprocessing = CLIP_PREPROCESSING;

  constructor(
    readonly config: ImageRewardConfig,
    readonly tokenizer: DescribedTokenizer,
    readonly weights: ReadonlyMap<string, WeightEntry>,
  ) {
    this.imageSize = config.vision.imageSize;
  }

  build(scope: Scope, pixels: Value): Value {
    return buildImageRewardFrom(scope, this.config, pixels);
  }

  textFeeds(prefix: string, prompts: readonly string[]): TextFeeds {
    return wordPieceFeeds("image-reward", this.tokenizer, this.config.text.vocabulary, prefix, prompts);
  }
}

/** The score `[N]` of `pixels`, with inputs for the prompt's tokens under the scope's prefix. */
export function buildImageRewardFrom(scope: Scope, config: ImageRewardConfig, pixels: Value): Value {
  const shape = [batchOf(pixels), config.maxTextLength];
  const ids = input(inputName(scope.prefix, "ids"), "int64", shape);
  const mask = input(inputName(scope.prefix, "mask"), "int64", shape);
  return buildImageReward(scope, config, { pixels, ids, mask });
}
