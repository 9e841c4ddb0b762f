/** @file Dimensions of shapes: a static size, or a multiple of one symbol ("N", "8*N") that is known only at run time. */

import { UsageError } from "../errors.js";

/** A static size, or a symbolic one: `"N"`, or a multiple of ONE symbol such as `"8*N"`. */
export type Dim = number | string;

/** A shape whose dimensions may be symbolic. */
export type Shape = readonly Dim[];

interface Parsed {
  readonly factor: number;
  /** undefined: static. */
  readonly symbol: string | undefined;
}

const SYMBOL = /^(?:(\d+)\*)?([A-Za-z_]\w*)$/;
const parsed = new Map<string, Parsed>();

/** Takes a dimension apart. @throws UsageError for a malformed one. */
export function parseDim(dim: Dim): Parsed {
  if (typeof dim === "number") {
    if (!Number.isSafeInteger(dim) || dim < 0) throw new UsageError(`dimension: expected a whole number, got ${dim}`);
    return { factor: dim, symbol: undefined };
  }
  let result = parsed.get(dim);
  if (result === undefined) {
    const match = SYMBOL.exec(dim);
    if (match === null) throw new UsageError(`dimension: expected a symbol like "N" or "8*N", got "${dim}"`);
    result = { factor: match[1] === undefined ? 1 : Number(match[1]), symbol: match[2] };
    parsed.set(dim, result);
  }
  return result;
}

/** The dimension `factor * symbol`, in its one spelling. */
export function makeDim(factor: number, symbol: string | undefined): Dim {
  if (symbol === undefined || factor === 0) return factor;
  return factor === 1 ? symbol : `${factor}*${symbol}`;
}

/** The product; undefined when both are symbolic (a product of symbols has no spelling). */
export function dimMultiply(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === "number" && typeof b === "number") return a * b;
  const left = parseDim(a);
  const right = parseDim(b);
  if (left.symbol !== undefined && right.symbol !== undefined) return undefined;
  return makeDim(left.factor * right.factor, left.symbol ?? right.symbol);
}

/** The exact quotient; undefined when it does not divide for every value of the symbol. */
export function dimDivide(a: Dim, b: Dim): Dim | undefined {
  const top = parseDim(a);
  const bottom = parseDim(b);
  if (bottom.factor === 0 || top.factor % bottom.factor !== 0) return undefined;
  if (bottom.symbol === undefined) return makeDim(top.factor / bottom.factor, top.symbol);
  return bottom.symbol === top.symbol ? top.factor / bottom.factor : undefined;
}

/** The sum; undefined when the two are not multiples of the same symbol. */
export function dimAdd(a: Dim, b: Dim): Dim | undefined {
  const left = parseDim(a);
  const right = parseDim(b);
  if (left.factor === 0) return b;
  if (right.factor === 0) return a;
  return left.symbol === right.symbol ? makeDim(left.factor + right.factor, left.symbol) : undefined;
}

/**
 * Outputs of a sliding window: floor((size + padding - extent) / stride) + 1; undefined when that is not one multiple of the
 * symbol (a symbolic size must divide by the stride and the padding must keep it whole) or is negative.
 */
export function dimWindow(size: Dim, padding: number, extent: number, stride: number): Dim | undefined {
  const { factor, symbol } = parseDim(size);
  if (symbol === undefined) {
    const count = Math.floor((factor + padding - extent) / stride) + 1;
    return count >= 0 ? count : undefined;
  }
  if (factor % stride !== 0 || Math.floor((padding - extent) / stride) + 1 !== 0) return undefined;
  return makeDim(factor / stride, symbol);
}

/** True when the two are equal for every value of their symbols. */
export function dimEquals(a: Dim, b: Dim): boolean {
  if (a === b) return true;
  if (typeof a === "number" || typeof b === "number") return false;
  const left = parseDim(a);
  const right = parseDim(b);
  return left.symbol === right.symbol && left.factor === right.factor;
}

/** True when the shapes have the same rank and equal dimensions. */
export function shapeEquals(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dimEquals(dim, b[axis] as Dim));
}

/** True when no dimension is symbolic. */
export function isStatic(shape: Shape): shape is readonly number[] {
  return shape.every((dim) => typeof dim === "number");
}

/** Number of elements; undefined when two symbolic dimensions meet. */
export function shapeElements(shape: Shape): Dim | undefined {
  let product: Dim | undefined = 1;
  for (const dim of shape) {
    product = dimMultiply(product, dim);
    if (product === undefined) return undefined;
  }
  return product;
}

/** `[N,4,8,8]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(",")}]`;
}
