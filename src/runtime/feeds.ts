/** @file Checking what is fed to a program before ONNX Runtime sees it. */

import { UsageError } from "../errors.js";
import { formatShape, parseDim } from "../graph/dims.js";
import type { ValueType } from "../graph/types.js";
import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount } from "../tensor/tensor.js";

/** A host tensor's type. */
export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Values of symbols, and the feed each was first seen in. */
type Symbols = Map<string, { readonly size: number; readonly feed: string }>;

function format({ dtype, shape }: ValueType): string {
  return `${dtype}${formatShape(shape)}`;
}

/** What is wrong with one tensor, or undefined. Learns the symbols it settles. */
function mismatch(feed: string, expected: ValueType, got: TensorType, symbols: Symbols): string | undefined {
  const fits = expected.dtype === got.dtype && expected.shape.length === got.shape.length;
  if (!fits) return `${feed}: expected ${format(expected)}, got ${format(got)}`;
  for (const [axis, dim] of expected.shape.entries()) {
    const size = got.shape[axis] as number;
    const { factor, symbol } = parseDim(dim);
    if (symbol === undefined ? size !== factor : size % factor !== 0) {
      return `${feed}: expected ${format(expected)}, got ${format(got)}`;
    }
    if (symbol === undefined) continue;
    const known = symbols.get(symbol);
    if (known === undefined) symbols.set(symbol, { size: size / factor, feed });
    else if (known.size * factor !== size) {
      return `${feed}: expected ${format(expected)} with ${symbol} = ${known.size} as in ${known.feed}, got ${format(got)}`;
    }
  }
  return undefined;
}

function checkData(feed: string, tensor: Tensor): string | undefined {
  const count = elementCount(tensor.shape);
  return tensor.data.length === count ? undefined : `${feed}: expected ${count} elements, got ${tensor.data.length}`;
}

/**
 * Names of the feeds to take from bound tensors: those not fed.
 * @throws UsageError with everything that is missing, unknown or of another type.
 */
export function checkFeeds(
  where: string,
  expected: ReadonlyMap<string, ValueType>,
  feeds: Readonly<Record<string, Tensor>>,
  bound: ReadonlyMap<string, TensorType>,
): string[] {
  const problems: string[] = [];
  const fromBound: string[] = [];
  const symbols: Symbols = new Map();
  for (const [name, type] of expected) {
    const fed = Object.hasOwn(feeds, name) ? feeds[name] : undefined;
    const got = fed ?? bound.get(name);
    if (got === undefined) {
      problems.push(`${name}: expected ${format(type)}, got nothing fed or bound`);
      continue;
    }
    if (fed === undefined) fromBound.push(name);
    const problem = mismatch(name, type, got, symbols) ?? (fed && checkData(name, fed));
    if (problem !== undefined) problems.push(problem);
  }
  for (const name of Object.keys(feeds)) {
    if (!expected.has(name))
      problems.push(`${name}: expected one of ${[...expected.keys()].join(", ") || "no feeds"}, got an unknown name`);
  }
  if (problems.length > 0) throw new UsageError(`${where}: ${problems.join("; ")}`);
  return fromBound;
}

/** Checks one tensor for binding. @throws UsageError */
export function checkFeed(where: string, name: string, expected: ValueType | undefined, tensor: Tensor): void {
  if (expected === undefined) throw new UsageError(`${where}: expected the name of a feed, got ${name}`);
  const problem = mismatch(name, expected, tensor, new Map()) ?? checkData(name, tensor);
  if (problem !== undefined) throw new UsageError(`${where}: ${problem}`);
}
