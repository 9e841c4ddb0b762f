/** @file Gradient rules of the ops that pick and put by index: what was picked is added back, what was put is picked. */

import { UsageError } from "../../errors.js";
import {
  expandLike,
  gather,
  gatherElements,
  integers,
  mul,
  pad,
  reduceSum,
  reshape,
  scatterElements,
  scatterND,
  squeeze,
  transpose,
  unsqueeze,
} from "../../graph/builder.js";
import { formatShape, isStatic, shapeElements } from "../../graph/dims.js";
import type { Shape, Value } from "../../graph/types.js";
import { elementCount } from "../../tensor/tensor.js";
import type { RuleContext, RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";
import { zeros } from "./shape.js";

/** The one position a constant index of one element names, or undefined. */
function singlePosition(indices: Value): number | undefined {
  const { source } = indices;
  if (source.kind !== "constant" || source.tensor.data.length !== 1) return undefined;
  return Number(source.tensor.data[0]);
}

/**
 * y = data[indices] along `axis`:  ddata[i] = sum of dy at all places where index i was picked.
 * One constant position is a Pad. Otherwise the axis comes first and the rows are added by ScatterElements: ONNX Runtime's ScatterND adds
 * on several threads and loses updates when an index repeats (seen in 1.30).
 */
function gatherGradient(context: RuleContext<"Gather">): Value {
  const [data, indices, dy] = [given(context, 0), given(context, 1), upstream(context)];
  const rank = data.shape.length;
  const axis = context.attributes.axis < 0 ? context.attributes.axis + rank : context.attributes.axis;
  const size = data.shape[axis];
  const single = singlePosition(indices);
  if (single !== undefined && typeof size === "number" && indices.shape.length <= 1) {
    const position = single < 0 ? single + size : single;
    const pads = new Array<number>(2 * rank).fill(0);
    pads[axis] = position;
    pads[axis + rank] = size - 1 - position;
    return pad(indices.shape.length === 0 ? unsqueeze(dy, [axis]) : dy, pads);
  }
  const picked = indices.shape.length;
  const before = Array.from({ length: axis }, (_, index) => index);
  const own = Array.from({ length: picked }, (_, index) => axis + index);
  const after = Array.from({ length: rank - 1 - axis }, (_, index) => axis + picked + index);
  const moved = axis === 0 ? dy : transpose(dy, [...own, ...before, ...after]);
  const others = data.shape.filter((_, index) => index !== axis);
  const [count, width] = [shapeElements(indices.shape), shapeElements(others)];
  if (count === undefined || width === undefined) {
    throw new UsageError(
      `gradient of Gather: expected one symbol among the indices and one beside them, got ${formatShape(dy.shape)}`,
    );
  }
  const updates = reshape(moved, [count, width]);
  const rows = expandLike(reshape(indices, [count, 1]), updates);
  const sums = scatterElements(zeros([size ?? 1, width], updates), rows, updates, 0, "add");
  const shaped = reshape(sums, [size ?? 1, ...others]);
  if (axis === 0) return shaped;
  return transpose(
    shaped,
    data.shape.map((_, index) => (index === axis ? 0 : index < axis ? index + 1 : index)),
  );
}

/** The slices of `value` at the positions that the last axis of `indices` spells. */
function gatherPositions(value: Value, indices: Value): Value {
  const depth = Number(indices.shape.at(-1));
  const last = indices.shape.length - 1;
  if (depth === 1) return gather(value, squeeze(indices, [last]), 0);
  const leading: Shape = value.shape.slice(0, depth);
  if (!isStatic(leading))
    throw new UsageError(`gradient of ScatterND: expected static indexed axes, got [${leading.join(",")}]`);
  const strides = leading.map((_, axis) => elementCount(leading.slice(axis + 1)));
  const flat = reshape(value, [elementCount(leading), ...value.shape.slice(depth)]);
  return gather(flat, reduceSum(mul(indices, integers(strides)), [last], { keepDims: false }), 0);
}

/** Rules of the indexing ops. */
export const indexingRules: RuleFamily<"Gather" | "GatherElements" | "ScatterElements" | "ScatterND" | "OneHot"> = {
  Gather: (context) => [gatherGradient(context), undefined],
  // y[i] = data[index[i]] along the axis:  ddata = zeros with dy added at index
  GatherElements: (context) => {
    const [data, indices, dy] = [given(context, 0), given(context, 1), upstream(context)];
    return [scatterElements(zeros(data.shape, data), indices, dy, context.attributes.axis, "add"), undefined];
  },
  // y = data with updates put or added:  ddata = dy (zero where something was put), dupdates = dy at the indices
  ScatterElements: (context) => {
    const [indices, updates, dy] = [given(context, 1), given(context, 2), upstream(context)];
    const { axis, reduction } = context.attributes;
    const ddata = reduction === "add" ? dy : scatterElements(dy, indices, zeros(updates.shape, updates), axis);
    return [ddata, undefined, gatherElements(dy, indices, axis)];
  },
  // as ScatterElements, by whole slices
  ScatterND: (context) => {
    const [indices, updates, dy] = [given(context, 1), given(context, 2), upstream(context)];
    const ddata = context.attributes.reduction === "add" ? dy : scatterND(dy, indices, zeros(updates.shape, updates));
    return [ddata, undefined, gatherPositions(dy, indices)];
  },
  OneHot: "nondifferentiable",
};
