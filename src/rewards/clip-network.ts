/** @file CLIP's dual encoder as a part of larger graphs: from pixels and the prompt's byte-pair tokens to the cosine. */

import { div, input, mul, reduceSum, sqrt } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { CLIP_PREPROCESSING } from "../image/preprocess.js";
import { buildClipImageEmbedding, buildClipTextEmbedding, type ClipConfig } from "../models/clip.js";
import { batchOf } from "../nn/dimension.js";
import type { Scope } from "../nn/scope.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import type { WeightEntry } from "../weights/types.js";
import { encodePrompts, stackRows, truncationWarnings } from "./batched.js";
import { inputName, type RewardNetwork, type TextFeeds } from "./contract.js";

/** Its text input is `ids`, int64 `[N, tokens]`. */
export class ClipNetwork implements RewardNetwork {
  readonly imageSize: number;
  readonly preprocessing = CLIP_PREPROCESSING;

  constructor(
    readonly config: ClipConfig,
    readonly tokenizer: DescribedTokenizer,
    readonly weights: ReadonlyMap<string, WeightEntry>,
  ) {
    this.imageSize = config.vision.imageSize;
  }

  build(scope: Scope, pixels: Value): Value {
    return buildClipCosine(scope, this.config, this.tokenizer.maxLength, pixels);
  }

  textFeeds(prefix: string, prompts: readonly string[]): TextFeeds {
    const { maxLength } = this.tokenizer;
    const encodings = encodePrompts(this.tokenizer, prompts);
    return {
      feeds: {
        [inputName(prefix, "ids")]: stackRows(
          encodings.map(({ ids }) => ids),
          maxLength,
        ),
      },
      warnings: truncationWarnings("clip-score", maxLength, encodings),
    };
  }
}

/** The cosine `[N]` of each row of `pixels` and its prompt, whose tokens are an input under the scope's prefix. */
export function buildClipCosine(scope: Scope, config: ClipConfig, length: number, pixels: Value): Value {
  const ids = input(inputName(scope.prefix, "ids"), "int64", [batchOf(pixels), length]);
  const text = buildClipTextEmbedding(scope, config, ids);
  const image = buildClipImageEmbedding(scope, config, pixels);
  const product = (a: Value, b: Value): Value => reduceSum(mul(a, b), [1], { keepDims: false });
  // cos(t, v) = <t, v> / (|t| |v|)
  return div(product(text, image), mul(sqrt(product(text, text)), sqrt(product(image, image))));
}
