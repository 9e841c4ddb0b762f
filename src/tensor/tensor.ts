/** @file Host tensors: a dtype, a static shape and a row-major typed array. */

import { UsageError } from "../errors.js";
import type { DType, TypedArrayOf } from "./dtype.js";
import { allocate } from "./dtype.js";

/** A dense row-major tensor on the host. `data.length` equals the product of `shape`. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly number[];
  readonly data: TypedArrayOf[D];
}

/** Number of elements of a static shape. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dimension) => product * dimension, 1);
}

/** Wraps `data` (not copied). @throws UsageError when its length is not the shape's product. */
export function tensor<D extends DType>(dtype: D, shape: readonly number[], data: TypedArrayOf[D]): Tensor<D> {
  if (data.length !== elementCount(shape)) {
    throw new UsageError(
      `tensor ${dtype}[${shape.join(",")}]: expected ${elementCount(shape)} elements, got ${data.length}`,
    );
  }
  return { dtype, shape, data };
}

/** A float32 tensor from numbers. */
export function float32(shape: readonly number[], values: ArrayLike<number>): Tensor<"float32"> {
  return tensor("float32", shape, values instanceof Float32Array ? values : Float32Array.from(values));
}

/** An int64 tensor from whole numbers. */
export function int64(shape: readonly number[], values: ArrayLike<number>): Tensor<"int64"> {
  return tensor("int64", shape, BigInt64Array.from(Array.from(values, BigInt)));
}

/** A zeroed tensor. */
export function zeros<D extends DType>(dtype: D, shape: readonly number[]): Tensor<D> {
  return { dtype, shape, data: allocate(dtype, elementCount(shape)) };
}
