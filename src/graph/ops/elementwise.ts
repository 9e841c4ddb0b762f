/** @file Elementwise ops: arithmetic, functions, comparisons, choice and casts, with NumPy's broadcasting. */

import type { DType } from "../../tensor/dtype.js";
import { UsageError } from "../../errors.js";
import { emitter, scalar } from "../emit.js";
import { dtypeOf, dtypeCode } from "../dtype-codes.js";
import { broadcast, operand, require, requireDType, requireFloat, requireSameDType, sameAs } from "../infer.js";
import type { OpFamily, OpSpec, Value } from "../types.js";

type Binary = "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min";
type Unary =
  | "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Exp" | "Log" | "Erf" | "Sin" | "Cos" | "Tanh" | "Sigmoid" | "Relu" | "Softplus" | "Sign" | "Floor"; // prettier-ignore
type Comparison = "Equal" | "Greater" | "Less";
type Logical = "And" | "Or";
type Elementwise = Binary | Unary | Comparison | Logical | "Gelu" | "Not" | "Where" | "Cast" | "Clip" | "Identity";

const binary: OpSpec<Binary> = {
  arity: [2, 2],
  infer(inputs) {
    const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
    requireSameDType(a, b);
    require(a.dtype !== "bool", "numbers", a);
    return [{ dtype: a.dtype, shape: broadcast(a, b) }];
  },
};

/** Any number. */
const unarySigned: OpSpec<"Neg" | "Abs" | "Sign" | "Relu"> = {
  arity: [1, 1],
  infer(inputs) {
    const x = operand(inputs, 0);
    require(x.dtype !== "bool", "numbers", x);
    return sameAs(x);
  },
};

const unaryFloat: OpSpec<Exclude<Unary, "Neg" | "Abs" | "Sign" | "Relu">> = {
  arity: [1, 1],
  infer(inputs) {
    const x = operand(inputs, 0);
    requireFloat(x);
    return sameAs(x);
  },
};

const comparison: OpSpec<Comparison> = {
  arity: [2, 2],
  infer(inputs) {
    const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
    requireSameDType(a, b);
    return [{ dtype: "bool", shape: broadcast(a, b) }];
  },
};

const logical: OpSpec<Logical> = {
  arity: [2, 2],
  infer(inputs) {
    const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
    requireDType(a, "bool");
    requireDType(b, "bool");
    return [{ dtype: "bool", shape: broadcast(a, b) }];
  },
};

/** Specs of the elementwise ops. @internal */
export const elementwiseOps: OpFamily<Elementwise> = {
  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary,
  Pow: binary,
  Max: binary,
  Min: binary,
  Neg: unarySigned,
  Abs: unarySigned,
  Sign: unarySigned,
  Relu: unarySigned,
  Sqrt: unaryFloat,
  Reciprocal: unaryFloat,
  Exp: unaryFloat,
  Log: unaryFloat,
  Erf: unaryFloat,
  Sin: unaryFloat,
  Cos: unaryFloat,
  Tanh: unaryFloat,
  Sigmoid: unaryFloat,
  Softplus: unaryFloat,
  Floor: unaryFloat,
  Gelu: {
    arity: [1, 1],
    infer(inputs, { approximate }) {
      const x = operand(inputs, 0);
      requireFloat(x);
      require(approximate === "none" || approximate === "tanh", 'approximate "none" or "tanh"', approximate);
      return sameAs(x);
    },
  },
  Equal: comparison,
  Greater: comparison,
  Less: comparison,
  And: logical,
  Or: logical,
  Not: {
    arity: [1, 1],
    infer(inputs) {
      const x = operand(inputs, 0);
      requireDType(x, "bool");
      return sameAs(x);
    },
  },
  Where: {
    arity: [3, 3],
    infer(inputs) {
      const [condition, a, b] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
      requireDType(condition, "bool");
      requireSameDType(a, b);
      return [{ dtype: a.dtype, shape: broadcast(condition, a, b) }];
    },
  },
  Cast: {
    arity: [1, 1],
    infer: (inputs, { to }) => [{ dtype: dtypeOf(to), shape: operand(inputs, 0).shape }],
  },
  Clip: {
    arity: [1, 3],
    infer(inputs) {
      const x = operand(inputs, 0);
      for (const bound of inputs.slice(1)) {
        if (bound === undefined) continue;
        requireSameDType(x, bound);
        require(bound.shape.length === 0, "a bound of rank 0", bound);
      }
      return sameAs(x);
    },
  },
  Identity: { arity: [1, 1], infer: (inputs) => sameAs(operand(inputs, 0)) },
};

const emit = emitter(elementwiseOps);

/** An operand: a value, or a number that becomes a scalar of the other operand's dtype. */
export type Operand = Value | number;

function pair(where: string, a: Operand, b: Operand): [Value, Value] {
  if (typeof a !== "number") return [a, typeof b === "number" ? scalar(b, a.dtype) : b];
  if (typeof b !== "number") return [scalar(a, b.dtype), b];
  throw new UsageError(`${where}: expected at least one value, got two numbers`);
}

const binaryOp = (op: Binary | Comparison | Logical) => (a: Operand, b: Operand) =>
  emit(op, pair(op, a, b), {})[0] as Value;
const unaryOp = (op: Unary | "Not" | "Identity") => (x: Value) => emit(op, [x], {})[0] as Value;

/** a + b. */
export const add = binaryOp("Add");
/** a - b. */
export const sub = binaryOp("Sub");
/** a * b. */
export const mul = binaryOp("Mul");
/** a / b; whole numbers are truncated. */
export const div = binaryOp("Div");
/** a ^ b. */
export const pow = binaryOp("Pow");
/** The greater of a and b. */
export const max = binaryOp("Max");
/** The lesser of a and b. */
export const min = binaryOp("Min");
/** a == b, as bool. */
export const equal = binaryOp("Equal");
/** a > b, as bool. */
export const greater = binaryOp("Greater");
/** a < b, as bool. */
export const less = binaryOp("Less");
/** a and b, of bools. */
export const and = binaryOp("And");
/** a or b, of bools. */
export const or = binaryOp("Or");
/** not x, of bools. */
export const not = unaryOp("Not");
/** -x. */
export const neg = unaryOp("Neg");
/** |x|. */
export const abs = unaryOp("Abs");
/** -1, 0 or 1. */
export const sign = unaryOp("Sign");
/** The square root. */
export const sqrt = unaryOp("Sqrt");
/** 1 / x. */
export const reciprocal = unaryOp("Reciprocal");
/** e ^ x. */
export const exp = unaryOp("Exp");
/** The natural logarithm. */
export const log = unaryOp("Log");
/** The error function. */
export const erf = unaryOp("Erf");
/** The sine. */
export const sin = unaryOp("Sin");
/** The cosine. */
export const cos = unaryOp("Cos");
/** The hyperbolic tangent. */
export const tanh = unaryOp("Tanh");
/** 1 / (1 + e^-x). */
export const sigmoid = unaryOp("Sigmoid");
/** max(x, 0). */
export const relu = unaryOp("Relu");
/** ln(1 + e^x). */
export const softplus = unaryOp("Softplus");
/** The greatest whole number not above x. */
export const floor = unaryOp("Floor");
/** x itself under a new value. */
export const identity = unaryOp("Identity");

/** x * Phi(x); "tanh" is GPT-2's approximation. */
export function gelu(x: Value, approximate: "none" | "tanh" = "none"): Value {
  return emit("Gelu", [x], { approximate })[0] as Value;
}

/** x * sigmoid(x), the form that ONNX Runtime fuses. */
export function silu(x: Value): Value {
  return mul(x, sigmoid(x));
}

/** a where the condition holds, b elsewhere; not both numbers. */
export function where(condition: Value, a: Operand, b: Operand): Value {
  return emit("Where", [condition, ...pair("Where", a, b)], {})[0] as Value;
}

/** x as another dtype; x itself when it has that dtype already. */
export function cast(x: Value, dtype: DType): Value {
  return x.dtype === dtype ? x : (emit("Cast", [x], { to: dtypeCode(dtype) })[0] as Value);
}

/** x within [min, max]; an undefined bound is none. */
export function clip(x: Value, min: number | undefined, max: number | undefined): Value {
  const bounds = [min, max].map((bound) => (bound === undefined ? undefined : scalar(bound, x.dtype)));
  return emit("Clip", [x, ...bounds], {})[0] as Value;
}
