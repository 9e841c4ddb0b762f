/** @file What the ops' inference functions share: operand checks, broadcasting, axes, and the contents of shape operands. */

import type { DType } from "../tensor/dtype.js";
import { isFloat } from "../tensor/dtype.js";
import { dimDivide, dimEquals, dimMultiply, formatShape } from "./dims.js";
import type { Dim, Value, ValueType } from "./types.js";

/** Operands do not fit an op; whoever applies the op adds its name and place. */
export class OperandError extends Error {
  constructor(expected: string, got: string) {
    super(`expected ${expected}, got ${got}`);
  }
}

/** `float32[N,4] "name"`. */
export function describe(value: Value | undefined): string {
  if (value === undefined) return "nothing";
  const named = value.source.kind === "input" || value.source.kind === "parameter" ? ` "${value.source.name}"` : "";
  return `${value.dtype}${formatShape(value.shape)}${named}`;
}

/** Operand `index`, which must be there. */
export function operand(inputs: readonly (Value | undefined)[], index: number): Value {
  const value = inputs[index];
  if (value === undefined) throw new OperandError(`operand ${index + 1}`, "nothing");
  return value;
}

/** Throws unless `holds`. */
export function require(holds: boolean, expected: string, ...got: readonly (Value | string | undefined)[]): void {
  if (!holds)
    throw new OperandError(
      expected,
      got.map((item) => (typeof item === "string" ? item : describe(item))).join(" and "),
    );
}

/** Throws unless the value holds floating-point numbers. */
export function requireFloat(value: Value): void {
  require(isFloat(value.dtype), "a floating-point operand", value);
}

/** Throws unless all operands have one dtype. */
export function requireSameDType(...values: readonly Value[]): void {
  require(values.every((value) => value.dtype === values[0]?.dtype), "operands of one dtype", ...values);
}

/** Throws unless the dtype is one of `dtypes`. */
export function requireDType(value: Value, ...dtypes: readonly DType[]): void {
  require(dtypes.includes(value.dtype), `an operand of dtype ${dtypes.join(" or ")}`, value);
}

/** Throws unless the rank is `rank`. */
export function requireRank(value: Value, rank: number): void {
  require(value.shape.length === rank, `an operand of rank ${rank}`, value);
}

/** The dimension at `axis`, which must exist. */
export function dimAt(shape: readonly Dim[], axis: number): Dim {
  const dim = shape[axis];
  if (dim === undefined) throw new OperandError(`an axis of ${formatShape(shape)}`, String(axis));
  return dim;
}

/** `axis` counted from the front. */
export function normalizeAxis(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || positive < 0 || positive >= rank) {
    throw new OperandError(`an axis within [${-rank}, ${rank - 1}]`, String(axis));
  }
  return positive;
}

/** Axes counted from the front, none twice. */
export function normalizeAxes(axes: readonly number[], rank: number): number[] {
  const positive = axes.map((axis) => normalizeAxis(axis, rank));
  if (new Set(positive).size !== positive.length) throw new OperandError("axes without repetition", formatShape(axes));
  return positive;
}

/** The dimension two dimensions broadcast to; undefined when they do not. A symbol broadcasts only with 1 and itself. */
export function broadcastDim(a: Dim, b: Dim): Dim | undefined {
  if (dimEquals(a, b) || b === 1) return a;
  return a === 1 ? b : undefined;
}

/** The shape that shapes broadcast to (NumPy's rule); undefined when they do not. */
export function broadcastShapes(...shapes: readonly (readonly Dim[])[]): Dim[] | undefined {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const result: Dim[] = new Array<Dim>(rank).fill(1);
  for (const shape of shapes) {
    const offset = rank - shape.length;
    for (let axis = 0; axis < shape.length; axis++) {
      const dim = broadcastDim(result[offset + axis] as Dim, shape[axis] as Dim);
      if (dim === undefined) return undefined;
      result[offset + axis] = dim;
    }
  }
  return result;
}

/** As `broadcastShapes` over operands. */
export function broadcast(...values: readonly Value[]): Dim[] {
  const shape = broadcastShapes(...values.map((value) => value.shape));
  if (shape === undefined)
    throw new OperandError("operands whose shapes broadcast", values.map(describe).join(" and "));
  return shape;
}

/** The entries of an integer operand that says a shape: constant, or computed from shapes; undefined when unknown. */
export function contents(value: Value): readonly Dim[] | undefined {
  if (value.shape.length > 1) return undefined;
  if (value.source.kind === "constant")
    return Array.from(value.source.tensor.data as ArrayLike<number | bigint>, Number);
  if (value.source.kind !== "node") return undefined;
  const { op, inputs, attributes } = value.source.node;
  const first = inputs[0];
  if (first === undefined) return undefined;
  if (op === "Shape")
    return first.shape.slice((attributes as { start: number }).start, (attributes as { end: number }).end);
  if (op === "Concat") {
    const parts = inputs.map((part) => part && contents(part));
    return parts.every((part) => part !== undefined) ? parts.flat() : undefined;
  }
  if (op === "Mul" || op === "Div") {
    const left = contents(first);
    const right = inputs[1] && contents(inputs[1]);
    if (left?.length !== 1 || right?.length !== 1) return undefined;
    const dim = (op === "Mul" ? dimMultiply : dimDivide)(left[0] as Dim, right[0] as Dim);
    return dim === undefined ? undefined : [dim];
  }
  return undefined;
}

/** The whole numbers of an operand that must be constant (axes, pads, repeats). */
export function constantIntegers(value: Value | undefined, what: string): readonly number[] {
  if (value?.source.kind !== "constant") throw new OperandError(`constant ${what}`, describe(value));
  return Array.from(value.source.tensor.data as ArrayLike<number | bigint>, Number);
}

/** One output of the operand's own type. */
export function sameAs(value: Value): readonly [ValueType] {
  return [{ dtype: value.dtype, shape: value.shape }];
}
