/** @file Gradient rules of the ops that move elements: each moves the gradient back. */

import { UsageError } from "../../errors.js";
import {
  concat,
  expand,
  pad,
  reduceSum,
  reshape,
  scalar,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from "../../graph/builder.js";
import { constantIntegers } from "../../graph/infer.js";
import type { Dim, Value } from "../../graph/types.js";
import type { RuleContext, RuleFamily } from "../rule.js";
import { given, upstream } from "../rule.js";

type ShapeOp =
  | "Reshape"
  | "Transpose"
  | "Concat"
  | "Split"
  | "Slice"
  | "Expand"
  | "Unsqueeze"
  | "Squeeze"
  | "Pad"
  | "Tile"
  | "Shape";

const integersOf = (context: RuleContext, index: number): readonly number[] =>
  constantIntegers(context.inputs[index], `operand ${index + 1}`);

/** Zeros of `shape`; its symbols are taken from `like` at run time. */
export function zeros(shape: readonly Dim[], like: Value): Value {
  return expand(scalar(0, like.dtype), shape, like);
}

/** The pads that put a slice back to its place, begin and end by axis. */
function slicePads(context: RuleContext<"Slice">): number[] {
  const x = given(context, 0);
  const [starts, ends, axes] = [integersOf(context, 1), integersOf(context, 2), integersOf(context, 3)];
  if (context.inputs[4] !== undefined && integersOf(context, 4).some((step) => step !== 1)) {
    throw new UsageError(
      `gradient of Slice (${context.node.origin}): expected step 1, got ${integersOf(context, 4).join(",")}`,
    );
  }
  const rank = x.shape.length;
  const pads = new Array<number>(2 * rank).fill(0);
  axes.forEach((listed, i) => {
    const axis = listed < 0 ? listed + rank : listed;
    const size = x.shape[axis];
    if (typeof size !== "number") return; // a symbolic axis is only ever taken whole
    const clamp = (position: number): number => Math.min(Math.max(position < 0 ? position + size : position, 0), size);
    pads[axis] = clamp(starts[i] ?? 0);
    pads[axis + rank] = size - clamp(ends[i] ?? size);
  });
  return pads;
}

/** Rules of the shape ops. */
export const shapeRules: RuleFamily<ShapeOp> = {
  // dx = dy under x's shape
  Reshape: (context) => [reshape(upstream(context), given(context, 0).shape), undefined],
  // dx = dy with the axes in their old order
  Transpose: (context) => {
    const { perm } = context.attributes;
    return [
      transpose(
        upstream(context),
        perm.map((_, axis) => perm.indexOf(axis)),
      ),
    ];
  },
  // each operand gets its part of dy
  Concat: (context) => {
    const axis = context.attributes.axis;
    const dy = upstream(context);
    if (context.inputs.length === 1) return [dy];
    const at = axis < 0 ? axis + dy.shape.length : axis;
    return split(
      dy,
      context.inputs.map((part) => part?.shape[at] ?? 0),
      at,
    );
  },
  // the parts' gradients joined, zeros for parts that are not used
  Split: (context) => {
    const x = given(context, 0);
    const parts = context.outputs.map((part, index) => context.upstreams[index] ?? zeros(part.shape, x));
    const dx = concat(parts, context.attributes.axis);
    return context.inputs.map((_, index) => (index === 0 ? dx : undefined));
  },
  // dx = dy with zeros where the slice left something out
  Slice: (context) => {
    const dx = pad(upstream(context), slicePads(context));
    return context.inputs.map((_, index) => (index === 0 ? dx : undefined));
  },
  // dx = dy; the engine sums over the stretched axes
  Expand: (context) => [upstream(context), undefined],
  Unsqueeze: (context) => {
    const rank = (context.outputs[0] as Value).shape.length;
    return [
      squeeze(
        upstream(context),
        integersOf(context, 1).map((axis) => (axis < 0 ? axis + rank : axis)),
      ),
      undefined,
    ];
  },
  Squeeze: (context) => {
    const rank = given(context, 0).shape.length;
    return [
      unsqueeze(
        upstream(context),
        integersOf(context, 1).map((axis) => (axis < 0 ? axis + rank : axis)),
      ),
      undefined,
    ];
  },
  // dx = dy without the border
  Pad: (context) => {
    const dx = pad(
      upstream(context),
      integersOf(context, 1).map((n) => (n === 0 ? 0 : -n)),
    );
    return context.inputs.map((_, index) => (index === 0 ? dx : undefined));
  },
  // dx = sum of the repetitions
  Tile: (context) => {
    const x = given(context, 0);
    const repeats = integersOf(context, 1);
    const dims: Dim[] = [];
    const summed: number[] = [];
    x.shape.forEach((dim, axis) => {
      const count = repeats[axis] ?? 1;
      if (count !== 1) {
        summed.push(dims.length);
        dims.push(count);
      }
      dims.push(dim);
    });
    return [reduceSum(reshape(upstream(context), dims), summed, { keepDims: false }), undefined];
  },
  Shape: "nondifferentiable",
};
