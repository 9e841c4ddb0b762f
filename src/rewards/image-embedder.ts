/** @file What makes vectors of pictures, so that it can be told which are alike: a reward's own embedding or, without one, reduced pictures. */

import { resizeBicubic } from "../image/resize.js";
import type { RgbImage } from "../image/types.js";
import type { Reward, RewardOptions } from "./contract.js";
import { Ensemble } from "./ensemble.js";
import { WatchedReward } from "./held-out.js";

/** Pictures are reduced to squares of this side where no model embeds them. */
const REDUCED_SIDE = 8;

/** What embeds pictures, so that similar ones have a cosine near 1. */
export interface ImageEmbedder {
  /** A vector for each picture, of any length but the same for all. @throws CancelledError when the signal aborts */
  embedImages(images: readonly RgbImage[], options?: RewardOptions): Promise<Float32Array[]>;
}

/** Whether a reward can embed pictures. */
export function isImageEmbedder<T extends Reward>(reward: T): reward is T & ImageEmbedder {
  return "embedImages" in reward && typeof reward.embedImages === "function";
}

/** The first that embeds pictures among a reward, its members, and the rewards that watch it; undefined where none does. */
export function embedderOf(reward: Reward): ImageEmbedder | undefined {
  if (isImageEmbedder(reward)) return reward;
  if (reward instanceof WatchedReward)
    return embedderOf(reward.guide) ?? [...reward.heldOut.values()].find(isImageEmbedder);
  return reward instanceof Ensemble ? reward.members.map((one) => one.reward).find(isImageEmbedder) : undefined;
}

/**
 * A vector of each picture.
 * @param embedder @default the pictures reduced to 8 x 8, as differences from medium grey
 * @throws CancelledError when the signal aborts
 */
export function embedPictures(
  pictures: readonly RgbImage[],
  embedder?: ImageEmbedder,
  options: RewardOptions = {},
): Promise<Float32Array[]> {
  return embedder === undefined ? Promise.resolve(pictures.map(reduced)) : embedder.embedImages(pictures, options);
}

/** The cosine of two vectors. Vectors of zeros are alike, and unlike all others. */
export function cosine(a: Float32Array, b: Float32Array): number {
  const lengths = [Math.sqrt(dot(a, a)), Math.sqrt(dot(b, b))] as const;
  const product = lengths[0] * lengths[1];
  return product === 0 ? Number(lengths[0] === lengths[1]) : dot(a, b) / product;
}

function reduced(picture: RgbImage): Float32Array {
  return Float32Array.from(resizeBicubic(picture, REDUCED_SIDE, REDUCED_SIDE).data, (value) => value / 127.5 - 1);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
