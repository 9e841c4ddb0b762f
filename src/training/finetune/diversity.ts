/** @file How diverse the pictures of one prompt are, in bits: the Vendi score over embeddings or, without any, over reduced pictures. */

import type { RgbImage } from "../../image/types.js";
import type { RewardOptions } from "../../rewards/contract.js";
import { cosine, embedPictures, type ImageEmbedder } from "../../rewards/image-embedder.js";
import { symmetricEigenvalues } from "../../util/eigenvalues.js";

/**
 * The effective number of different vectors, 1 to their count: exp of the entropy of the eigenvalues of K / n, K the cosines of any two
 * (Friedman & Dieng, arXiv 2210.02410). Vectors of zeros are alike, and unlike all others. NaN for none.
 */
export function vendiScore(vectors: readonly Float32Array[]): number {
  const count = vectors.length;
  if (count === 0) return Number.NaN;
  const similarities = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    for (let j = i; j < count; j++) {
      const alike = cosine(vectors[i]!, vectors[j]!);
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
  const vectors = await embedPictures(pictures.flat(), embedder, options);
  let next = 0;
  return pictures.map(({ length }) => Math.log2(vendiScore(vectors.slice(next, (next += length)))));
}
