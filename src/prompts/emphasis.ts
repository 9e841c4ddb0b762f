/** @file Weights of words, applied to what the text encoder made of them. */

/**
 * Multiplies each token's state by its weight and brings the mean over all of them back to what it was: the web UI's emphasis "Original".
 * States whose weights are all 1 are returned as they are.
 * Reference: modules/sd_emphasis.py `EmphasisOriginal` of AUTOMATIC1111's web UI, v1.10.1
 *
 * @param states float32 [length, width] of one chunk, flattened; not changed
 * @param multipliers one for each token
 */
export function emphasise(states: Float32Array, multipliers: readonly number[]): Float32Array {
  if (multipliers.every((weight) => weight === 1)) return states;
  const width = states.length / multipliers.length;
  const weighted = states.map((value, i) => value * multipliers[Math.floor(i / width)]!);
  const [before, after] = [sum(states), sum(weighted)];
  // without a mean there is none to restore
  if (after === 0) return weighted;
  const scale = before / after;
  return weighted.map((value) => value * scale);
}

function sum(values: Float32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
