/** @file Losses as graph functions: each takes values and returns a scalar, its formula above it. */

import {
  abs,
  add,
  cast,
  constant,
  div,
  exp,
  gather,
  logSoftmax,
  mul,
  neg,
  reduceMean,
  reduceSum,
  softplus,
  sub,
  transpose,
} from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import { tensor } from "../tensor/tensor.js";

function axes(value: Value): number[] {
  return value.shape.map((_, axis) => axis);
}

/** The mean over all elements, as a scalar. */
export function meanOf(value: Value): Value {
  return reduceMean(value, axes(value), { keepDims: false });
}

/** `mean((a - b)^2)`. */
export function meanSquaredError(a: Value, b: Value): Value {
  const difference = sub(a, b);
  return meanOf(mul(difference, difference));
}

/**
 * Reconstruction loss with a weight per pixel (broadcast over channels, about 1 on average).
 *
 *     mean(w (|a - b| + (a - b)^2))
 */
export function weightedReconstruction(a: Value, b: Value, weight: Value): Value {
  const difference = sub(a, b);
  return meanOf(mul(weight, add(abs(difference), mul(difference, difference))));
}

/**
 * Mean divergence of a diagonal Gaussian from the standard normal, per latent element.
 *
 *     KL = (mu^2 + exp(logvar) - 1 - logvar) / 2
 */
export function gaussianDivergence(mean: Value, logVariance: Value): Value {
  const inner = sub(add(mul(mean, mean), exp(logVariance)), add(logVariance, 1));
  return mul(meanOf(inner), 0.5);
}

/**
 * ImageReward's pairwise ranking loss: `better` and `worse` are scores of the same prompt's images, row by row.
 *
 *     -mean(log sigmoid(better - worse)) = mean(softplus(worse - better))
 *
 * Source: Xu et al. 2023 (arXiv 2304.05977), equation 1.
 */
export function pairwiseRanking(better: Value, worse: Value): Value {
  return meanOf(softplus(sub(worse, better)));
}

/**
 * The symmetric contrastive loss of a dual encoder; row i of `logits` ([count, count], images by texts) belongs to column i.
 *
 *     -(mean_i log softmax_row(logits)_ii + mean_i log softmax_column(logits)_ii) / 2
 *
 * Source: Radford et al. 2021 (arXiv 2103.00020), figure 3.
 */
export function contrastive(logits: Value, count: number): Value {
  const eye = new Float32Array(count * count);
  for (let i = 0; i < count; i++) eye[i * count + i] = 1;
  const diagonal = constant(tensor("float32", [count, count], eye));
  const picked = (rows: Value): Value => reduceSum(mul(logSoftmax(rows), diagonal), [0, 1], { keepDims: false });
  return neg(div(add(picked(logits), picked(transpose(logits, [1, 0]))), 2 * count));
}

/**
 * Mean cross-entropy of `logits` [rows, classes] against class numbers `labels` (int64 [rows]).
 *
 *     -mean_i log softmax(logits_i)[labels_i]
 */
export function crossEntropy(logits: Value, labels: Value): Value {
  const classes = logits.shape[1];
  if (typeof classes !== "number") throw new TypeError("crossEntropy: expected a static number of classes");
  const eye = new Float32Array(classes * classes);
  for (let i = 0; i < classes; i++) eye[i * classes + i] = 1;
  const chosen = cast(gather(constant(tensor("float32", [classes, classes], eye)), labels, 0), logits.dtype);
  return neg(meanOf(reduceSum(mul(logSoftmax(logits), chosen), [1], { keepDims: false })));
}
