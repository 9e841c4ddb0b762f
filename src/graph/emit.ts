/** @file Making values: inputs, parameters, constants, and nodes whose operands are checked on the spot. */

import { InternalError, LaurelError, UsageError } from "../errors.js";
import { allocate } from "../tensor/dtype.js";
import type { DType } from "../tensor/dtype.js";
import { float32ToBfloat16, float32ToFloat16 } from "../tensor/half.js";
import type { Tensor } from "../tensor/tensor.js";
import { parseDim } from "./dims.js";
import { OperandError } from "./infer.js";
import { currentOrigin } from "./origin.js";
import type { AttributesOf, Dim, Node, OpFamily, OpType, Value, ValueSource, ValueType } from "./types.js";

let nextId = 1;

function makeValue(type: ValueType, source: ValueSource): Value {
  return { id: nextId++, dtype: type.dtype, shape: type.shape, source };
}

function checkNamed(kind: string, name: string, shape: readonly Dim[]): void {
  if (name === "") throw new UsageError(`${kind}: expected a name, got ""`);
  shape.forEach(parseDim);
}

/** A value fed at each run. */
export function input(name: string, dtype: DType, shape: readonly Dim[]): Value {
  checkNamed("input", name, shape);
  return makeValue({ dtype, shape: [...shape] }, { kind: "input", name });
}

/** A weight; `name` is its key in the checkpoint, its shape is static. */
export function parameter(name: string, shape: readonly number[], dtype: DType = "float32"): Value {
  checkNamed("parameter", name, shape);
  return makeValue({ dtype, shape: [...shape] }, { kind: "parameter", name });
}

/** A value that never changes. The tensor is not copied. */
export function constant(tensor: Tensor): Value {
  return makeValue({ dtype: tensor.dtype, shape: tensor.shape }, { kind: "constant", tensor });
}

/** A constant of rank 0. */
export function scalar(x: number, dtype: DType = "float32"): Value {
  const data = allocate(dtype, 1);
  if (data instanceof BigInt64Array) data[0] = BigInt(x);
  else if (dtype === "float16") data.set(float32ToFloat16(Float32Array.of(x)));
  else if (dtype === "bfloat16") data.set(float32ToBfloat16(Float32Array.of(x)));
  else data[0] = x;
  return constant({ dtype, shape: [], data });
}

/** An int64 constant of rank 1: axes, shapes, sizes. */
export function integers(values: readonly number[]): Value {
  return constant({ dtype: "int64", shape: [values.length], data: BigInt64Array.from(values, BigInt) });
}

/** Makes nodes of one family of ops. */
export type Emit<F extends OpType> = <K extends F>(
  op: K,
  inputs: readonly (Value | undefined)[],
  attributes: AttributesOf<K>,
) => readonly Value[];

/** A function that makes nodes of the ops in `specs`, inferring and checking at the call. */
export function emitter<F extends OpType>(specs: OpFamily<F>): Emit<F> {
  return (op, inputs, attributes) => {
    const origin = currentOrigin();
    const [fewest, most] = specs[op].arity;
    if (inputs.length < fewest || inputs.length > most) {
      throw new InternalError(`${op} at ${origin}: expected ${fewest} to ${most} operands, got ${inputs.length}`);
    }
    let types: readonly ValueType[];
    try {
      types = specs[op].infer(inputs, attributes);
    } catch (error) {
      if (error instanceof OperandError) throw new UsageError(`${op} at ${origin}: ${error.message}`);
      if (error instanceof LaurelError) throw error;
      throw new InternalError(`${op} at ${origin}: inference failed`, { cause: error });
    }
    const outputs: Value[] = [];
    const node = { id: nextId++, op, inputs, attributes, outputs, origin } as unknown as Node;
    types.forEach((type, index) => outputs.push(makeValue(type, { kind: "node", node, index })));
    return outputs;
  };
}
