/** @file Real numbers of any precision as float32, and back. */

import { UsageError } from "../errors.js";
import type { DType } from "./dtype.js";
import { bfloat16ToFloat32, float16ToFloat32, float32ToBfloat16, float32ToFloat16 } from "./half.js";
import type { Tensor } from "./tensor.js";

/** The elements as float32; those of a float32 tensor are not copied. @throws UsageError for whole numbers and truth values */
export function realValues({ dtype, data }: Tensor): Float32Array {
  switch (dtype) {
    case "float32":
      return data as Float32Array;
    case "float64":
      return Float32Array.from(data as Float64Array);
    case "float16":
      return float16ToFloat32(data as Uint16Array);
    case "bfloat16":
      return bfloat16ToFloat32(data as Uint16Array);
    case "int8":
    case "uint8":
    case "int32":
    case "int64":
    case "bool":
      throw new UsageError(`tensor: expected real numbers, got ${dtype}`);
  }
}

/** A tensor of the real type `dtype`, rounded to nearest, ties to even. @throws UsageError for another type */
export function realTensor(dtype: DType, shape: readonly number[], values: Float32Array): Tensor {
  switch (dtype) {
    case "float32":
      return { dtype, shape, data: values };
    case "float64":
      return { dtype, shape, data: Float64Array.from(values) };
    case "float16":
      return { dtype, shape, data: float32ToFloat16(values) };
    case "bfloat16":
      return { dtype, shape, data: float32ToBfloat16(values) };
    case "int8":
    case "uint8":
    case "int32":
    case "int64":
    case "bool":
      throw new UsageError(`tensor: expected a type of real numbers, got ${dtype}`);
  }
}
