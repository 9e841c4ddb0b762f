/** @file Ops that pick and put elements by index. */

import { constant, emitter, scalar } from "../emit.js";
import { allocate, byteSize } from "../../tensor/dtype.js";
import type { DType } from "../../tensor/dtype.js";
import { dimEquals, shapeEquals } from "../dims.js";
import {
  constantIntegers,
  dimAt,
  normalizeAxis,
  operand,
  require,
  requireDType,
  requireSameDType,
  sameAs,
} from "../infer.js";
import type { OpFamily, Value } from "../types.js";

/** Specs of the indexing ops. @internal */
export const indexingOps: OpFamily<"Gather" | "GatherElements" | "ScatterElements" | "ScatterND" | "OneHot"> = {
  Gather: {
    arity: [2, 2],
    infer(inputs, { axis }) {
      const [data, indices] = [operand(inputs, 0), operand(inputs, 1)];
      requireDType(indices, "int64", "int32");
      const at = normalizeAxis(axis, data.shape.length);
      return [
        { dtype: data.dtype, shape: [...data.shape.slice(0, at), ...indices.shape, ...data.shape.slice(at + 1)] },
      ];
    },
  },
  GatherElements: {
    arity: [2, 2],
    infer(inputs, { axis }) {
      const [data, indices] = [operand(inputs, 0), operand(inputs, 1)];
      requireDType(indices, "int64", "int32");
      const at = normalizeAxis(axis, data.shape.length);
      const fits =
        indices.shape.length === data.shape.length &&
        indices.shape.every((dim, i) => i === at || dimEquals(dim, dimAt(data.shape, i)));
      require(fits, `data and indices equal but for axis ${at}`, data, indices);
      return [{ dtype: data.dtype, shape: indices.shape }];
    },
  },
  ScatterElements: {
    arity: [3, 3],
    infer(inputs, { axis }) {
      const [data, indices, updates] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
      requireDType(indices, "int64", "int32");
      requireSameDType(data, updates);
      normalizeAxis(axis, data.shape.length);
      require(shapeEquals(indices.shape, updates.shape) && indices.shape.length === data.shape.length, "indices and updates of one shape and the data's rank", data, indices, updates); // prettier-ignore
      return sameAs(data);
    },
  },
  ScatterND: {
    arity: [3, 3],
    infer(inputs) {
      const [data, indices, updates] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
      requireDType(indices, "int64");
      requireSameDType(data, updates);
      const depth = indices.shape.at(-1);
      require(typeof depth === "number" &&
        depth <= data.shape.length, "indices of a static depth within the data's rank", indices);
      const expected = [...indices.shape.slice(0, -1), ...data.shape.slice(Number(depth))];
      require(shapeEquals(updates.shape, expected), `updates [${expected.join(",")}]`, updates);
      return sameAs(data);
    },
  },
  OneHot: {
    arity: [3, 3],
    infer(inputs, { axis }) {
      const [indices, values] = [operand(inputs, 0), operand(inputs, 2)];
      requireDType(indices, "int64", "int32");
      const depth = constantIntegers(inputs[1], "depth")[0] as number;
      const at = normalizeAxis(axis, indices.shape.length + 1);
      return [{ dtype: values.dtype, shape: [...indices.shape.slice(0, at), depth, ...indices.shape.slice(at)] }];
    },
  },
};

const emit = emitter(indexingOps);

/** Slices of `data` along `axis` at `indices` (int64 or int32): shape = data[:axis] + indices + data[axis+1:]. */
export function gather(data: Value, indices: Value, axis = 0): Value {
  return emit("Gather", [data, indices], { axis })[0] as Value;
}

/** out[i][j][k] = data[indices[i][j][k]][j][k] for axis 0, and so on. */
export function gatherElements(data: Value, indices: Value, axis: number): Value {
  return emit("GatherElements", [data, indices], { axis })[0] as Value;
}

/** `data` with `updates` put, or added, at `indices` along `axis`. */
export function scatterElements(
  data: Value,
  indices: Value,
  updates: Value,
  axis: number,
  reduction: "none" | "add" = "none",
): Value {
  return emit("ScatterElements", [data, indices, updates], { axis, reduction })[0] as Value;
}

/**
 * `data` with `updates` put, or added, at the positions that the last axis of `indices` (int64) spells. Adding at repeated positions loses
 * updates on several threads (ONNX Runtime 1.30): use scatterElements for that.
 */
export function scatterND(data: Value, indices: Value, updates: Value, reduction: "none" | "add" = "none"): Value {
  return emit("ScatterND", [data, indices, updates], { reduction })[0] as Value;
}

/** The two values [0, 1]. */
function zeroAndOne(dtype: DType): Value {
  const data = allocate(dtype, 2);
  const one = scalar(1, dtype);
  if (one.source.kind === "constant")
    new Uint8Array(data.buffer, byteSize(dtype)).set(new Uint8Array(one.source.tensor.data.buffer));
  return constant({ dtype, shape: [2], data });
}

/** 1 at each index, 0 elsewhere, along a new axis of `depth`. */
export function oneHot(indices: Value, depth: number, axis = -1, dtype: DType = "float32"): Value {
  return emit("OneHot", [indices, scalar(depth, "int64"), zeroAndOne(dtype)], { axis })[0] as Value;
}
