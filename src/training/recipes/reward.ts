/** @file Recipe: the reward, from pairs ranked by truth, with ImageReward's pairwise loss. */

import { cast, greater, input, slice } from "../../graph/builder.js";
import type { ImageRewardConfig } from "../../models/image-reward.js";
import { buildImageReward } from "../../models/image-reward.js";
import { rootScope } from "../../nn/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { Tokenizer } from "../../tokenizers/types.js";
import type { RankedPair } from "../demo-samples.js";
import { clipTensor, rankedPair, sampleRandom, tokenTensors } from "../demo-samples.js";
import { meanOf, pairwiseRanking } from "../losses.js";
import type { Recipe } from "../loop.js";
import type { RecipeSettings } from "./recipe-settings.js";
import { startValues } from "./recipe-settings.js";

/** Settings of the reward's training; `batchSize` counts pairs. */
export interface RewardSettings extends RecipeSettings {
  /** Share of pairs taken from generated images, where there are any. @default 0.5 */
  readonly generatedShare?: number | undefined;
}

/** The network, its tokenizer, and pairs of generated images ranked by the oracle (none: renders only). */
export interface RewardParts {
  readonly config: ImageRewardConfig;
  readonly tokenizer: Tokenizer;
  readonly generated?: readonly RankedPair[] | undefined;
}

/** Parameters are named as in the reward's file. */
export function rewardRecipe(
  parts: RewardParts,
  settings: RewardSettings,
  start?: ReadonlyMap<string, Tensor>,
): Recipe {
  const { config, tokenizer, generated = [] } = parts;
  const { batchSize: pairs, generatedShare = 0.5, seed = 1 } = settings;
  const size = config.vision.imageSize;
  const rows = 2 * pairs;
  const score = buildImageReward(rootScope({ mode: "training" }), config, {
    pixels: input("pixels", "float32", [rows, 3, size, size]),
    ids: input("ids", "int64", [rows, tokenizer.maxLength]),
    mask: input("mask", "int64", [rows, tokenizer.maxLength]),
  });
  const [better, worse] = [slice(score, 0, 0, pairs), slice(score, 0, pairs)];
  const loss = pairwiseRanking(better, worse);
  const accuracy = meanOf(cast(greater(better, worse), "float32"));
  return {
    ...settings,
    task: "reward",
    seed,
    accumulate: settings.accumulate ?? 1,
    objective: { loss, metrics: { accuracy }, parameters: startValues(loss, seed, start) },
    batch(cursor) {
      const drawn = Array.from({ length: pairs }, (_, i) => {
        const random = sampleRandom(seed, cursor + i);
        return generated.length > 0 && random.chance(generatedShare) ? random.pick(generated) : rankedPair(random);
      });
      const prompts = drawn.map(({ prompt }) => prompt);
      const pictures = [...drawn.map((pair) => pair.better), ...drawn.map((pair) => pair.worse)];
      return { pixels: clipTensor(pictures, size), ...tokenTensors(tokenizer, [...prompts, ...prompts]) };
    },
  };
}
