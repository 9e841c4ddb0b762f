/** @file ONNX's numbers for element types (TensorProto.DataType). */

import { InternalError } from "../errors.js";
import type { DType } from "../tensor/dtype.js";

const CODES: { readonly [D in DType]: number } = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
};

const DTYPES = new Map(Object.entries(CODES).map(([dtype, code]) => [code, dtype as DType]));

/** ONNX's number of a dtype. */
export function dtypeCode(dtype: DType): number {
  return CODES[dtype];
}

/** The dtype of ONNX's number. @throws InternalError for one Laurel does not use. */
export function dtypeOf(code: number): DType {
  const dtype = DTYPES.get(code);
  if (dtype === undefined) throw new InternalError(`dtype: expected an ONNX element type, got ${code}`);
  return dtype;
}
