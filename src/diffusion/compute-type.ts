/** @file What networks are computed in, beside what their weights are stored in. */

/** Types that can be asked for. `auto` is the best that the device computes rightly. */
export const COMPUTE_TYPES = ["auto", "float32", "float16", "bfloat16"] as const;

/** One of them. */
export type ComputeType = (typeof COMPUTE_TYPES)[number];

/**
 * What is said of a type that was asked for and is not computed in. Weights in half precision are read as they are on every device; all networks that
 * draw compute in float32, into which a weight is widened exactly.
 */
export function computeWarnings(asked: ComputeType): string[] {
  if (asked === "auto" || asked === "float32") return [];
  return [`dtype: the model is computed in float32, not in ${asked}; weights stay in the precision of their file`];
}
