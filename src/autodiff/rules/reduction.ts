/** @file Gradient rules of the reductions and of what normalises over an axis. */

import {
  cast,
  cumSum,
  div,
  equal,
  exp,
  expandLike,
  mul,
  reduceSum,
  reshape,
  shapeOf,
  sub,
  unsqueeze,
} from "../../graph/builder.js";
import { shapeElements } from "../../graph/dims.js";
import { constantIntegers } from "../../graph/infer.js";
import type { Dim, Value } from "../../graph/types.js";
import type { RuleContext, RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";

type Reduce = "ReduceSum" | "ReduceMean" | "ReduceMax";

function axesOf(context: RuleContext<Reduce>): number[] {
  const rank = given(context, 0).shape.length;
  return constantIntegers(context.inputs[1], "axes").map((axis) => (axis < 0 ? axis + rank : axis));
}

/** A reduction's result or gradient with its reduced axes present as 1. */
function kept(value: Value, context: RuleContext<Reduce>): Value {
  return context.attributes.keepdims === 1 ? value : unsqueeze(value, axesOf(context));
}

/** value / (number of elements reduced), also when that number is known only at run time. */
function divideByCount(value: Value, x: Value, axes: readonly number[]): Value {
  const count = shapeElements(axes.map((axis) => x.shape[axis] as Dim));
  if (typeof count === "number") return mul(value, 1 / count);
  const lengths = axes.map((axis) => cast(reshape(shapeOf(x, axis, axis + 1), []), value.dtype));
  return div(
    value,
    lengths.reduce((left, right) => mul(left, right)),
  );
}

/** Rules of the reductions. */
export const reductionRules: RuleFamily<Reduce | "Softmax" | "LogSoftmax" | "ArgMax" | "CumSum"> = {
  // y = sum x:  dx = dy, repeated
  ReduceSum: (context) => [expandLike(kept(upstream(context), context), given(context, 0)), undefined],
  // y = mean x:  dx = dy / count, repeated
  ReduceMean: (context) => {
    const x = given(context, 0);
    const dy = divideByCount(kept(upstream(context), context), x, axesOf(context));
    return [expandLike(dy, x), undefined];
  },
  // y = max x:  dx = dy [x = y] / (number of x equal to y)  (as torch.amax)
  ReduceMax: (context) => {
    const x = given(context, 0);
    const mask = cast(equal(x, kept(context.outputs[0] as Value, context)), x.dtype);
    const share = div(kept(upstream(context), context), reduceSum(mask, axesOf(context)));
    return [mul(mask, share), undefined];
  },
  // y = softmax x:  dx = y (dy - sum(dy y))
  Softmax: (context) => {
    const [y, dy] = [context.outputs[0] as Value, upstream(context)];
    return [mul(y, sub(dy, reduceSum(mul(dy, y), [context.attributes.axis])))];
  },
  // y = log softmax x:  dx = dy - e^y sum(dy)
  LogSoftmax: (context) => {
    const [y, dy] = [context.outputs[0] as Value, upstream(context)];
    return [sub(dy, mul(exp(y), reduceSum(dy, [context.attributes.axis])))];
  },
  // y_i = sum_{j <= i} x_j:  dx_j = sum_{i >= j} dy_i, the running sum the other way
  CumSum: (context) => {
    const { exclusive, reverse } = context.attributes;
    const axis = constantIntegers(context.inputs[1], "axis")[0] ?? 0;
    return [cumSum(upstream(context), axis, { exclusive: exclusive === 1, reverse: reverse !== 1 }), undefined];
  },
  ArgMax: "nondifferentiable",
};
