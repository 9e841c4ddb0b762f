/** @file How diverse the pictures of one prompt are, in bits: the Vendi score over embeddings or, without any, over reduced pictures. */

import { resizeBicubic } from "../../image/resize.js";
import type { RgbImage } from "../../image/types.js";
import type { Reward, RewardOptions } from "../../rewards/contract.js";
import { symmetricEigenvalues } from "../../util/eigenvalues.js";

/** Pictures are reduced to squares of this side where no model embeds them. */
const REDUCED_SIDE = 8;

/** What embeds pictures, so that similar ones have a cosine near 1. */
export interface ImageEmbedder {
  embedImages(images: readonly RgbImage[], options?: RewardOptions): Promise<Float32Array[]>;
}

/** Whether a reward can embed pictures. */
export function isImageEmbedder<T extends Reward>(reward: T): reward is T & ImageEmbedder {
  return "embedImages" in reward && typeof reward.embedImages === "function";
}

/**
 * The effective number of different vectors, 1 to their count: exp of the entropy of the eigenvalues of K / n, K the cosines of any two
 * (Friedman & Dieng, arXiv 2210.02410). Vectors of zeros are alike, and unlike all others. NaN for none.
 */
export function vendiScore(vectors: readonly Float32Array[]): number {
  const count = vectors.length;
  if (count === 0) return Number.NaN;
  const lengths = vectors.map((vector) => Math.sqrt(dot(vector, vector)));
  const similarities = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = i; j < count; j++) {
      const product = lengths[i]! * lengths[j]!;
      const alike = product === 0 ? Number(lengths[i] === lengths[j]) : dot(vectors[i]!, vectors[j]!) / product;
      similarities[i * count + j] = alike / count;
    }
  }
  const entropy = symmetricEigenvalues(similarities, count)
    .filter((value) => !(value <= 0))
    .reduce((sum, value) => sum - value * Math.log(value), 0);
  return Math.exp(entropy);
}

/**
 * The diversity of each prompt's pictures in bits: log2 of their Vendi score, 0 when all are alike, at most log2 of their number. In bits, so
 * that a share of the base's falls to 0 when pictures become alike; the Vendi score itself only falls to 1.
 * @param pictures of every prompt
 * @param embedder @default the pictures reduced to 8 x 8, as differences from medium grey
 * @throws CancelledError when the signal aborts
 */
export async function pictureDiversity(
  pictures: readonly (readonly RgbImage[])[],
  embedder?: ImageEmbedder,
  options: RewardOptions = {},
): Promise<number[]> {
  const all = pictures.flat();
  const vectors = embedder === undefined ? all.map(reduced) : await embedder.embedImages(all, options);
  let next = 0;
  return pictures.map(({ length }) => Math.log2(vendiScore(vectors.slice(next, (next += length)))));
}

function reduced(picture: RgbImage): Float32Array {
  return Float32Array.from(resizeBicubic(picture, REDUCED_SIDE, REDUCED_SIDE).data, (value) => value / 127.5 - 1);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}
