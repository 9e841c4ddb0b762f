/** @file Tensors on the way into networks that were exported with other types, and out of them. */

import { InternalError } from "../errors.js";
import type { DType } from "../tensor/dtype.js";
import { realTensor, realValues } from "../tensor/real.js";
import { elementCount, type Tensor } from "../tensor/tensor.js";

/** A tensor of numbers as another dtype; what lies between whole numbers is cut. */
export function toDtype(tensor: Tensor, dtype: DType): Tensor {
  const { shape } = tensor;
  if (tensor.dtype === dtype) return tensor;
  const values = Float32Array.from(tensor.data as Float32Array, Number);
  switch (dtype) {
    case "int32":
      return { dtype, shape, data: Int32Array.from(values) };
    case "int64":
      return { dtype, shape, data: BigInt64Array.from(values, (value) => BigInt(Math.trunc(value))) };
    case "int8":
    case "uint8":
    case "bool":
      throw new InternalError(`tensor: expected numbers to become real or whole ones, got ${dtype}`);
    case "float32":
    case "float64":
    case "float16":
    case "bfloat16":
      return realTensor(dtype, shape, values);
  }
}

/** Real or whole numbers in float32. */
export function toFloat32(tensor: Tensor): Tensor {
  const half = tensor.dtype === "float16" || tensor.dtype === "bfloat16";
  return half ? realTensor("float32", tensor.shape, realValues(tensor)) : toDtype(tensor, "float32");
}

/** Rows of the first axis, in this order. */
export function pickRows(tensor: Tensor, rows: readonly number[]): Tensor {
  const [, ...inner] = tensor.shape;
  const size = elementCount(inner);
  const data = new Float32Array(rows.length * size);
  const from = tensor.data as Float32Array;
  rows.forEach((row, i) => data.set(from.subarray(row * size, (row + 1) * size), i * size));
  return { dtype: "float32", shape: [rows.length, ...inner], data };
}

/** One tensor of the rows of several, row i of them all put at `places[i]`. */
export function joinRows(parts: readonly Tensor[], places: readonly number[]): Tensor {
  const [, ...inner] = parts[0]!.shape;
  const size = elementCount(inner);
  const data = new Float32Array(places.length * size);
  let next = 0;
  for (const { data: rows } of parts) {
    for (let at = 0; at < rows.length; at += size, next++) {
      data.set((rows as Float32Array).subarray(at, at + size), places[next]! * size);
    }
  }
  return { dtype: "float32", shape: [places.length, ...inner], data };
}

/** Part `index` of `count` equal parts of the second axis. */
export function chunkOf({ shape, data }: Tensor, index: number, count: number): Tensor {
  const [rows = 0, channels = 0, ...inner] = shape;
  const size = (channels / count) * elementCount(inner);
  const picked = new Float32Array(rows * size);
  for (let row = 0; row < rows; row++) {
    const start = (row * count + index) * size;
    picked.set((data as Float32Array).subarray(start, start + size), row * size);
  }
  return { dtype: "float32", shape: [rows, channels / count, ...inner], data: picked };
}
