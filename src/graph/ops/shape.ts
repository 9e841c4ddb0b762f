/** @file Ops that move elements without computing: reshape, transpose, join, cut, repeat, pad, and shapes as values. */

import { UsageError } from "../../errors.js";
import {
  dimAdd,
  dimDivide,
  dimEquals,
  dimMultiply,
  formatShape,
  parseDim,
  shapeElements,
  shapeEquals,
} from "../dims.js";
import { emitter, integers, scalar } from "../emit.js";
import { broadcastShapes, constantIntegers, contents, describe, dimAt, normalizeAxes, normalizeAxis, operand, OperandError, require, requireDType, requireSameDType } from "../infer.js"; // prettier-ignore
import type { Dim, OpFamily, Value } from "../types.js";
import { div, mul } from "./elementwise.js";

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

/** Fills in 0 (copy the operand's dimension) and -1 (what is left) of a Reshape's target. */
function reshaped(x: Value, target: readonly Dim[]): Dim[] {
  const shape = target.map((dim, axis) => (dim === 0 ? dimAt(x.shape, axis) : dim));
  const open = shape.indexOf(-1);
  // Dimensions on both sides cancel first, so that two symbols may pass through.
  const left = [...x.shape];
  const right: Dim[] = [];
  for (const dim of shape) {
    if (dim === -1) continue;
    const match = typeof dim === "string" ? left.findIndex((other) => dimEquals(other, dim)) : -1;
    if (match >= 0) left.splice(match, 1);
    else right.push(dim);
  }
  const [from, to] = [shapeElements(left), shapeElements(right)];
  const rest = from === undefined || to === undefined ? undefined : dimDivide(from, to);
  const expected = `a shape of the operand's elements`;
  if (open < 0) require(rest === 1 || (from === 0 && to === 0), expected, `${formatShape(target)} for ${describe(x)}`);
  else if (rest === undefined) throw new OperandError(expected, `${formatShape(target)} for ${describe(x)}`);
  else shape[open] = rest;
  return shape;
}

/** Elements that `start:end:step` takes of `size`. */
function sliceLength(size: Dim, start: number, end: number, step: number, axis: number): Dim {
  if (typeof size === "string") {
    require(start === 0 &&
      end >= Number.MAX_SAFE_INTEGER &&
      step === 1, `all of symbolic axis ${axis}`, `${start}:${end}:${step}`);
    return size;
  }
  require(step > 0, "a positive step", String(step));
  const clamp = (position: number) => Math.min(Math.max(position < 0 ? position + size : position, 0), size);
  return Math.max(0, Math.ceil((clamp(end) - clamp(start)) / step));
}

/** Specs of the shape ops. @internal */
export const shapeOps: OpFamily<ShapeOp> = {
  Reshape: {
    arity: [2, 2],
    infer(inputs) {
      const [x, target] = [operand(inputs, 0), operand(inputs, 1)];
      requireDType(target, "int64");
      const entries = contents(target);
      if (entries === undefined) throw new OperandError("a known target shape", describe(target));
      return [{ dtype: x.dtype, shape: reshaped(x, entries) }];
    },
  },
  Transpose: {
    arity: [1, 1],
    infer(inputs, { perm }) {
      const x = operand(inputs, 0);
      require(perm.length === x.shape.length, `a permutation of ${x.shape.length} axes`, formatShape(perm));
      return [{ dtype: x.dtype, shape: normalizeAxes(perm, perm.length).map((axis) => dimAt(x.shape, axis)) }];
    },
  },
  Concat: {
    arity: [1, Number.MAX_SAFE_INTEGER],
    infer(inputs, { axis }) {
      const parts = inputs.map((_, index) => operand(inputs, index));
      const first = operand(inputs, 0);
      requireSameDType(...parts);
      const at = normalizeAxis(axis, first.shape.length);
      let total: Dim | undefined = 0;
      for (const part of parts) {
        const fits =
          part.shape.length === first.shape.length &&
          part.shape.every((dim, i) => i === at || dimEquals(dim, first.shape[i] as Dim));
        require(fits, `operands equal but for axis ${at}`, ...parts);
        total = total === undefined ? undefined : dimAdd(total, dimAt(part.shape, at));
      }
      if (total === undefined)
        throw new OperandError(`sizes on axis ${at} that add up`, parts.map(describe).join(" and "));
      return [{ dtype: first.dtype, shape: first.shape.with(at, total) }];
    },
  },
  Split: {
    arity: [1, 2],
    infer(inputs, { axis, num_outputs: count }) {
      const x = operand(inputs, 0);
      const at = normalizeAxis(axis, x.shape.length);
      const size = dimAt(x.shape, at);
      if (inputs[1] === undefined) {
        const part = dimDivide(size, count ?? 0);
        if (part === undefined) throw new OperandError(`a size that divides by ${count}`, `${size} on axis ${at}`);
        return Array.from({ length: count ?? 0 }, () => ({ dtype: x.dtype, shape: x.shape.with(at, part) }));
      }
      const sizes = constantIntegers(inputs[1], "sizes");
      require(sizes.reduce((sum, part) => sum + part, 0) === size, `sizes that add up to ${size}`, formatShape(sizes));
      return sizes.map((part) => ({ dtype: x.dtype, shape: x.shape.with(at, part) }));
    },
  },
  Slice: {
    arity: [4, 5],
    infer(inputs) {
      const x = operand(inputs, 0);
      const starts = constantIntegers(inputs[1], "starts");
      const ends = constantIntegers(inputs[2], "ends");
      const axes = normalizeAxes(constantIntegers(inputs[3], "axes"), x.shape.length);
      const steps = inputs[4] === undefined ? starts.map(() => 1) : constantIntegers(inputs[4], "steps");
      let shape = x.shape;
      axes.forEach((axis, i) => {
        const length = sliceLength(
          dimAt(shape, axis),
          starts[i] as number,
          ends[i] as number,
          steps[i] as number,
          axis,
        );
        shape = shape.with(axis, length);
      });
      return [{ dtype: x.dtype, shape }];
    },
  },
  Expand: {
    arity: [2, 2],
    infer(inputs) {
      const [x, target] = [operand(inputs, 0), operand(inputs, 1)];
      requireDType(target, "int64");
      const entries = contents(target);
      if (entries === undefined) throw new OperandError("a known target shape", describe(target));
      const shape = broadcastShapes(x.shape, entries);
      if (shape === undefined)
        throw new OperandError(`an operand that broadcasts to ${formatShape(entries)}`, describe(x));
      return [{ dtype: x.dtype, shape }];
    },
  },
  Unsqueeze: {
    arity: [2, 2],
    infer(inputs) {
      const x = operand(inputs, 0);
      const listed = constantIntegers(inputs[1], "axes");
      const axes = normalizeAxes(listed, x.shape.length + listed.length).sort((a, b) => a - b);
      const shape = [...x.shape];
      for (const axis of axes) shape.splice(axis, 0, 1);
      return [{ dtype: x.dtype, shape }];
    },
  },
  Squeeze: {
    arity: [2, 2],
    infer(inputs) {
      const x = operand(inputs, 0);
      const axes = new Set(normalizeAxes(constantIntegers(inputs[1], "axes"), x.shape.length));
      for (const axis of axes) require(x.shape[axis] === 1, `size 1 on axis ${axis}`, x);
      return [{ dtype: x.dtype, shape: x.shape.filter((_, axis) => !axes.has(axis)) }];
    },
  },
  Pad: {
    arity: [2, 3],
    infer(inputs, { mode }) {
      const x = operand(inputs, 0);
      const pads = constantIntegers(inputs[1], "pads");
      const rank = x.shape.length;
      require(pads.length === 2 * rank, `${2 * rank} pads`, formatShape(pads));
      require(mode === "constant", 'mode "constant"', mode);
      if (inputs[2] !== undefined) requireSameDType(x, inputs[2]);
      const shape = x.shape.map((dim, axis) => {
        const total = (pads[axis] as number) + (pads[axis + rank] as number);
        if (typeof dim === "string") require(total === 0, `no padding on symbolic axis ${axis}`, String(total));
        else require(dim + total >= 0, `at least ${-dim} on axis ${axis}`, String(total));
        return typeof dim === "string" ? dim : dim + total;
      });
      return [{ dtype: x.dtype, shape }];
    },
  },
  Tile: {
    arity: [2, 2],
    infer(inputs) {
      const x = operand(inputs, 0);
      const repeats = constantIntegers(inputs[1], "repeats");
      require(repeats.length === x.shape.length, `${x.shape.length} repeats`, formatShape(repeats));
      return [{ dtype: x.dtype, shape: x.shape.map((dim, axis) => dimMultiply(dim, repeats[axis] as number) as Dim) }];
    },
  },
  Shape: {
    arity: [1, 1],
    infer(inputs, { start, end }) {
      const rank = operand(inputs, 0).shape.length;
      require(0 <= start && start <= end && end <= rank, `0 <= start <= end <= ${rank}`, `${start}:${end}`);
      return [{ dtype: "int64", shape: [end - start] }];
    },
  },
};

const emit = emitter(shapeOps);

/** Encodes a target for Reshape: the one symbolic entry is -1; of several, those equal to the operand's own axis are 0. */
function reshapeTarget(x: Value, dims: readonly Dim[]): number[] {
  const open = dims.filter((dim) => dim === -1 || typeof dim === "string").length;
  return dims.map((dim, axis) => {
    if (typeof dim === "number") return dim;
    return open > 1 && axis < x.shape.length && dimEquals(dim, x.shape[axis] as Dim) ? 0 : -1;
  });
}

/** The same elements under another shape; `dims` may hold one -1 and symbolic entries. x itself when nothing changes. */
export function reshape(x: Value, dims: readonly Dim[]): Value {
  if (shapeEquals(x.shape, dims)) return x;
  const target = reshapeTarget(x, dims);
  if (target.filter((dim) => dim === -1).length > 1) {
    throw new UsageError(`Reshape: expected at most one open dimension, got ${formatShape(dims)} for ${describe(x)}`);
  }
  const result = emit("Reshape", [x, integers(target)], {})[0] as Value;
  dims.forEach((dim, axis) => {
    if (dim === -1 || dimEquals(dim, dimAt(result.shape, axis))) return;
    throw new UsageError(
      `Reshape: expected ${formatShape(dims)}, got ${formatShape(result.shape)} from ${describe(x)}`,
    );
  });
  return result;
}

/** Axes in another order: result axis i is x's axis perm[i]. */
export function transpose(x: Value, perm: readonly number[]): Value {
  return emit("Transpose", [x], { perm })[0] as Value;
}

/** The values joined along `axis`. */
export function concat(xs: readonly Value[], axis: number): Value {
  return emit("Concat", xs, { axis })[0] as Value;
}

/** x cut along `axis` into parts of `sizes`; symbolic sizes must all be equal. */
export function split(x: Value, sizes: readonly Dim[], axis: number): Value[] {
  if (sizes.every((size) => typeof size === "number")) return [...emit("Split", [x, integers(sizes)], { axis })];
  const parts = emit("Split", [x], { axis, num_outputs: sizes.length });
  const at = normalizeAxis(axis, x.shape.length);
  if (!sizes.every((size) => dimEquals(size, dimAt(parts[0]?.shape ?? [], at)))) {
    throw new UsageError(`Split: expected equal parts of axis ${at} of ${describe(x)}, got ${formatShape(sizes)}`);
  }
  return [...parts];
}

/** Elements `start` to before `end` along `axis`; negative positions count from the end; an undefined end is the end. */
export function slice(x: Value, axis: number, start: number, end?: number, step = 1): Value {
  const stop = end === undefined || end >= Number.MAX_SAFE_INTEGER ? Number.MAX_SAFE_INTEGER : end;
  const operands = [start, stop, axis].map((item) => integers([item]));
  return emit("Slice", step === 1 ? [x, ...operands] : [x, ...operands, integers([step])], {})[0] as Value;
}

/** The shape of x, axes `start` to before `end`, as int64. */
export function shapeOf(x: Value, start = 0, end: number = x.shape.length): Value {
  return emit("Shape", [x], { start, end })[0] as Value;
}

/** One entry of a run-time shape: a constant, or a multiple of a symbolic dimension of `like`. */
function dimValue(dim: Dim, like: Value | undefined): Value {
  if (typeof dim === "number") return integers([dim]);
  const wanted = parseDim(dim);
  const axis = like?.shape.findIndex((other) => parseDim(other).symbol === wanted.symbol) ?? -1;
  if (like === undefined || axis < 0) {
    throw new UsageError(`Expand: expected a \`like\` value with the symbol of ${dim}, got ${describe(like)}`);
  }
  const own = parseDim(dimAt(like.shape, axis)).factor;
  let size = shapeOf(like, axis, axis + 1);
  if (own !== 1 && wanted.factor !== own) size = div(size, scalar(own, "int64"));
  return wanted.factor === own ? size : wanted.factor === 1 ? size : mul(size, scalar(wanted.factor, "int64"));
}

/** x broadcast to `shape`; symbolic sizes are taken from `like` at run time. x itself when it has that shape. */
export function expand(x: Value, shape: readonly Dim[], like?: Value): Value {
  if (shapeEquals(x.shape, shape)) return x;
  let target: Value;
  if (shape.every((dim) => typeof dim === "number")) target = integers(shape);
  else if (like !== undefined && shapeEquals(like.shape, shape)) target = shapeOf(like);
  else {
    // A symbolic axis that x has already needs no more than 1 here.
    const own = x.shape.length - shape.length;
    const needed = shape.map((dim, axis) =>
      typeof dim === "string" && own + axis >= 0 && dimEquals(dim, x.shape[own + axis] as Dim) ? 1 : dim,
    );
    target = needed.every((dim) => typeof dim === "number")
      ? integers(needed)
      : concat(
          needed.map((dim) => dimValue(dim, like)),
          0,
        );
  }
  const result = emit("Expand", [x, target], {})[0] as Value;
  if (!shapeEquals(result.shape, shape)) {
    throw new UsageError(
      `Expand: expected ${formatShape(shape)}, got ${formatShape(result.shape)} from ${describe(x)}`,
    );
  }
  return result;
}

/** x broadcast to the shape of `ref`. */
export function expandLike(x: Value, ref: Value): Value {
  return expand(x, ref.shape, ref);
}

/** x with axes of size 1 inserted at the result's `axes`. */
export function unsqueeze(x: Value, axes: readonly number[]): Value {
  return emit("Unsqueeze", [x, integers(axes)], {})[0] as Value;
}

/** x without the axes `axes`, which have size 1. */
export function squeeze(x: Value, axes: readonly number[]): Value {
  return emit("Squeeze", [x, integers(axes)], {})[0] as Value;
}

/** x with `pads` = [begin of each axis..., end of each axis...] of `value` around it; negative pads crop. @default value 0 */
export function pad(x: Value, pads: readonly number[], value?: number): Value {
  const operands = value === undefined ? [x, integers(pads)] : [x, integers(pads), scalar(value, x.dtype)];
  return emit("Pad", operands, { mode: "constant" })[0] as Value;
}

/** x repeated `repeats[axis]` times along each axis. */
export function tile(x: Value, repeats: readonly number[]): Value {
  return emit("Tile", [x, integers(repeats)], {})[0] as Value;
}

/** Rank 2: the axes before `axis` become rows, the rest columns. */
export function flatten2d(x: Value, axis = 1): Value {
  const [rows, columns] = [shapeElements(x.shape.slice(0, axis)), shapeElements(x.shape.slice(axis))];
  if (rows === undefined || columns === undefined)
    throw new UsageError(`flatten2d: expected one symbol a side, got ${describe(x)}`);
  return reshape(x, [rows, columns]);
}
