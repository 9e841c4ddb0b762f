/** @file A known answer that every consumer of a bundle can check itself against: an input made by rule, and what came out of it. */

import { elementCount, float32, type Tensor } from "../../tensor/tensor.js";

/** First values of the gradient that are kept. */
export const FIRST_VALUES = 8;

/** The numbers of an input: spread evenly over `[low, high]`, the same in every language. */
export interface InputRecipe {
  /** u_i = ((i * multiplier + offset) mod 2^32) / 2^32; value_i = low + (high - low) * u_i, rounded to float32. */
  readonly multiplier: number;
  readonly offset: number;
  readonly low: number;
  readonly high: number;
}

/** Knuth's multiplicative hash of the index. */
export function inputRecipe(low: number, high: number): InputRecipe {
  return { multiplier: 2654435761, offset: 12345, low, high };
}

/** The input of a recipe. */
export function recipeInput(
  { multiplier, offset, low, high }: InputRecipe,
  shape: readonly number[],
): Tensor<"float32"> {
  const data = Float32Array.from(
    { length: elementCount(shape) },
    (_, i) => low + ((high - low) * ((Math.imul(i, multiplier) + offset) >>> 0)) / 2 ** 32,
  );
  return float32(shape, data);
}

/** Euclidean length of a gradient. */
export function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
