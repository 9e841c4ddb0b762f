/** @file Reductions and what normalises over an axis: sums, means, maxima, softmax, positions of maxima, running sums. */

import { emitter, integers, scalar } from "../emit.js";
import { constantIntegers, normalizeAxes, normalizeAxis, operand, require, requireFloat, sameAs } from "../infer.js";
import type { OpFamily, OpSpec, Value } from "../types.js";

type Reduce = "ReduceSum" | "ReduceMean" | "ReduceMax";

function reducedShape(x: Value, axes: readonly number[], keepDims: boolean) {
  const reduced = new Set(normalizeAxes(axes, x.shape.length));
  const shape = x.shape.map((dim, axis) => (reduced.has(axis) ? 1 : dim));
  return keepDims ? shape : shape.filter((_, axis) => !reduced.has(axis));
}

const reduce: OpSpec<Reduce> = {
  arity: [2, 2],
  infer(inputs, { keepdims }) {
    const x = operand(inputs, 0);
    require(x.dtype !== "bool", "numbers", x);
    const axes = constantIntegers(inputs[1], "axes");
    require(axes.length > 0, "at least one axis", "none");
    return [{ dtype: x.dtype, shape: reducedShape(x, axes, keepdims === 1) }];
  },
};

const softmaxLike: OpSpec<"Softmax" | "LogSoftmax"> = {
  arity: [1, 1],
  infer(inputs, { axis }) {
    const x = operand(inputs, 0);
    requireFloat(x);
    normalizeAxis(axis, x.shape.length);
    return sameAs(x);
  },
};

/** Specs of the reductions. @internal */
export const reductionOps: OpFamily<Reduce | "Softmax" | "LogSoftmax" | "ArgMax" | "CumSum"> = {
  ReduceSum: reduce,
  ReduceMean: reduce,
  ReduceMax: reduce,
  Softmax: softmaxLike,
  LogSoftmax: softmaxLike,
  ArgMax: {
    arity: [1, 1],
    infer(inputs, { axis, keepdims }) {
      const x = operand(inputs, 0);
      return [{ dtype: "int64", shape: reducedShape(x, [axis], keepdims === 1) }];
    },
  },
  CumSum: {
    arity: [2, 2],
    infer(inputs) {
      const x = operand(inputs, 0);
      normalizeAxis(constantIntegers(inputs[1], "axis")[0] as number, x.shape.length);
      return sameAs(x);
    },
  },
};

const emit = emitter(reductionOps);

/** Options of the reductions. */
export interface ReduceOptions {
  /** Keep reduced axes as 1. @default true */
  readonly keepDims?: boolean;
}

const reduceOp =
  (op: Reduce) =>
  (x: Value, axes: readonly number[], { keepDims = true }: ReduceOptions = {}): Value =>
    axes.length === 0 ? x : (emit(op, [x, integers(axes)], { keepdims: Number(keepDims) })[0] as Value);

/** The sum over `axes`; no axes: x itself. */
export const reduceSum = reduceOp("ReduceSum");
/** The mean over `axes`; no axes: x itself. */
export const reduceMean = reduceOp("ReduceMean");
/** The maximum over `axes`; no axes: x itself. */
export const reduceMax = reduceOp("ReduceMax");

/** e^x over its sum along `axis`. */
export function softmax(x: Value, axis = -1): Value {
  return emit("Softmax", [x], { axis })[0] as Value;
}

/** The logarithm of `softmax`. */
export function logSoftmax(x: Value, axis = -1): Value {
  return emit("LogSoftmax", [x], { axis })[0] as Value;
}

/** Position (int64) of the first maximum along `axis`. */
export function argMax(x: Value, axis: number, keepDims = true): Value {
  return emit("ArgMax", [x], { axis, keepdims: Number(keepDims) })[0] as Value;
}

/** The running sum along `axis`. */
export function cumSum(
  x: Value,
  axis: number,
  options: { readonly exclusive?: boolean; readonly reverse?: boolean } = {},
): Value {
  const { exclusive = false, reverse = false } = options;
  return emit("CumSum", [x, scalar(axis, "int64")], {
    exclusive: Number(exclusive),
    reverse: Number(reverse),
  })[0] as Value;
}
