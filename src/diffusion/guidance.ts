/** @file Guidance: between two predictions, or as an input of a model that was distilled with it. */

/** Classifier-free guidance: negative + guidance * (positive - negative), in float32 steps (arXiv 2207.12598, eq. 6, with w = guidance - 1). */
export function guide(negative: Float32Array, positive: Float32Array, guidance: number): Float32Array {
  const { fround } = Math;
  const scale = fround(guidance);
  const result = new Float32Array(negative.length);
  for (let i = 0; i < result.length; i++) {
    result[i] = negative[i]! + fround(scale * fround(positive[i]! - negative[i]!));
  }
  return result;
}

/**
 * What a distilled denoiser reads of the guidance scale (arXiv 2210.03142, section 3.1): sines, then cosines of 1000 w f_i with w = guidance - 1 and
 * f_i = 10000^(-i / (width / 2 - 1)), in float32 steps; an odd width ends in 0. Source: diffusers `get_guidance_scale_embedding`.
 */
export function embedGuidance(guidance: number, width: number): Float32Array {
  const { fround } = Math;
  const half = Math.floor(width / 2);
  const decay = fround(fround(Math.log(10000)) / (half - 1));
  const w = fround(fround(guidance - 1) * 1000);
  const result = new Float32Array(width);
  for (let i = 0; i < half; i++) {
    const angle = fround(w * fround(Math.exp(fround(-decay * i))));
    result[i] = Math.sin(angle);
    result[half + i] = Math.cos(angle);
  }
  return result;
}
