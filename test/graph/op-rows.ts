/** @file One row per op and variant: operands, how the op is applied, and the values that must come out (worked out by hand). */

import * as g from "#laurel/graph/builder";
import type { OpType, Value } from "#laurel/graph/builder";
import type { DType } from "#laurel/tensor/dtype";
import type { Tensor } from "#laurel/tensor/tensor";
import { float32, int64 } from "#laurel/tensor/tensor";

/** An op applied to fed operands, and its outputs. */
export interface Row {
  readonly operands: readonly Tensor[];
  readonly apply: (...values: Value[]) => Value | Value[];
  readonly shape: readonly number[];
  /** Values of the outputs, one after the other. */
  readonly values: readonly number[];
}

const f = (shape: readonly number[], values: readonly number[]): Tensor => float32(shape, values);
const i = (shape: readonly number[], values: readonly number[]): Tensor => int64(shape, values);
const bool = (values: readonly number[]): Tensor => ({
  dtype: "bool",
  shape: [values.length],
  data: Uint8Array.from(values),
});
const iota = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

const vector = f([3], [1, -2, 4]);

const unary = (apply: (x: Value) => Value, operand: readonly number[], values: readonly number[]): Row[] => [
  { operands: [f([operand.length], operand)], apply, shape: [operand.length], values },
];

const binary = (apply: (a: Value, b: Value) => Value, values: readonly number[]): Row[] => [
  { operands: [f([2, 1], [1, 4]), f([2], [2, 3])], apply, shape: [2, 2], values },
];

const cast = (dtype: DType, values: readonly number[]): Row => ({
  operands: [f([3], [0, 1.75, -3.5])],
  apply: (x) => g.cast(x, dtype),
  shape: [3],
  values,
});

const [e, sqrt2] = [Math.E, Math.SQRT2];
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Rows by op; an op without rows does not compile. */
export const ROWS: { readonly [K in OpType]: readonly Row[] } = {
  Add: binary(g.add, [3, 4, 6, 7]),
  Sub: binary(g.sub, [-1, -2, 2, 1]),
  Mul: binary(g.mul, [2, 3, 8, 12]),
  Div: binary(g.div, [0.5, 1 / 3, 2, 4 / 3]),
  Pow: binary(g.pow, [1, 1, 16, 64]),
  Max: binary(g.max, [2, 3, 4, 4]),
  Min: binary(g.min, [1, 1, 2, 3]),
  Neg: unary(g.neg, [1, -2], [-1, 2]),
  Abs: unary(g.abs, [1, -2], [1, 2]),
  Sqrt: unary(g.sqrt, [4, 2], [2, sqrt2]),
  Reciprocal: unary(g.reciprocal, [4, -0.5], [0.25, -2]),
  Exp: unary(g.exp, [0, 1], [1, e]),
  Log: unary(g.log, [1, e], [0, 1]),
  Erf: unary(g.erf, [0, 1, -0.5], [0, 0.8427007929497149, -0.5204998778130465]),
  Sin: unary(g.sin, [0, 1], [0, 0.8414709848078965]),
  Cos: unary(g.cos, [0, 1], [1, 0.5403023058681398]),
  Tanh: unary(g.tanh, [0, 1], [0, 0.7615941559557649]),
  Sigmoid: [...unary(g.sigmoid, [0, 2], [0.5, sigmoid(2)]), ...unary(g.silu, [0, 2], [0, 2 * sigmoid(2)])],
  Relu: unary(g.relu, [-1, 2], [0, 2]),
  Softplus: unary(g.softplus, [0, 3], [Math.LN2, Math.log1p(Math.exp(3))]),
  Sign: unary(g.sign, [-3, 0, 2], [-1, 0, 1]),
  Floor: unary(g.floor, [-1.5, 1.5], [-2, 1]),
  Gelu: [
    ...unary(g.gelu, [1, -1], [0.8413447460685429, -0.15865525393145707]),
    ...unary((x) => g.gelu(x, "tanh"), [1, -1], [0.8411919906082768, -0.15880800939172324]),
  ],
  Identity: unary(g.identity, [5], [5]),
  Equal: [
    { operands: [vector], apply: (x) => g.equal(x, -2), shape: [3], values: [0, 1, 0] },
    { operands: [i([2], [7, 8])], apply: (x) => g.equal(x, 8), shape: [2], values: [0, 1] },
  ],
  Greater: [{ operands: [vector], apply: (x) => g.greater(x, 1), shape: [3], values: [0, 0, 1] }],
  Less: [{ operands: [vector], apply: (x) => g.less(0, x), shape: [3], values: [1, 0, 1] }],
  Not: [{ operands: [bool([0, 1])], apply: g.not, shape: [2], values: [1, 0] }],
  And: [{ operands: [bool([0, 1, 1]), bool([1, 1, 0])], apply: g.and, shape: [3], values: [0, 1, 0] }],
  Or: [{ operands: [bool([0, 0, 1]), bool([1, 0, 0])], apply: g.or, shape: [3], values: [1, 0, 1] }],
  Where: [
    { operands: [bool([1, 0, 1]), vector], apply: (c, x) => g.where(c, x, 0), shape: [3], values: [1, 0, 4] },
    {
      operands: [bool([1, 0, 1]), f([2, 1], [5, 6])],
      apply: (c, x) => g.where(c, 1, x),
      shape: [2, 3],
      values: [1, 5, 1, 1, 6, 1],
    },
  ],
  Cast: [
    cast("int64", [0, 1, -3]),
    cast("int32", [0, 1, -3]),
    cast("bool", [0, 1, 1]),
    cast("float64", [0, 1.75, -3.5]),
    // Raw bits of 0, 1.75 and -3.5.
    cast("float16", [0, 0x3f00, 0xc300]),
  ],
  Clip: [
    { operands: [vector], apply: (x) => g.clip(x, -1, 2), shape: [3], values: [1, -1, 2] },
    { operands: [vector], apply: (x) => g.clip(x, undefined, 2), shape: [3], values: [1, -2, 2] },
    { operands: [vector], apply: (x) => g.clip(x, 0, undefined), shape: [3], values: [1, 0, 4] },
  ],
  MatMul: [
    {
      operands: [f([2, 2], [1, 2, 3, 4]), f([2, 2], [5, 6, 7, 8])],
      apply: g.matMul,
      shape: [2, 2],
      values: [19, 22, 43, 50],
    },
    { operands: [f([2, 1, 2], [1, 2, 3, 4]), f([2, 1], [5, 6])], apply: g.matMul, shape: [2, 1, 1], values: [17, 39] },
  ],
  Gemm: [
    {
      operands: [f([1, 2], [1, 2]), f([3, 2], [1, 0, 0, 1, 1, 1]), f([3], [10, 20, 30])],
      apply: (a, b, c) => g.gemm(a, b, c, { transB: true, alpha: 2, beta: 0.5 }),
      shape: [1, 3],
      values: [7, 14, 21],
    },
    {
      operands: [f([2, 1], [1, 2]), f([2, 2], [1, 2, 3, 4])],
      apply: (a, b) => g.gemm(a, b, undefined, { transA: true }),
      shape: [1, 2],
      values: [7, 10],
    },
  ],
  FusedMatMul: [
    {
      operands: [f([1, 2, 1], [1, 2]), f([1, 3, 2], iota(6))],
      apply: (a, b) => g.fusedMatMul(a, b, { transA: true, transB: true, alpha: 0.5 }),
      shape: [1, 1, 3],
      values: [2.5, 5.5, 8.5],
    },
  ],
  // numbers from 0 to 255 are levels themselves
  DynamicQuantizeMatMul: [
    {
      operands: [f([2, 2], [0, 255, 10, 20]), f([2, 2], [1, 2, 3, -4]), f([2], [0.5, 2]), f([2], [1, 0])],
      apply: (x, w, scale, bias) => g.dynamicQuantizeMatMul(x, g.cast(w!, "int8"), scale!, bias),
      shape: [2, 2],
      values: [383.5, -2040, 36, -120],
    },
  ],
  Conv: [
    {
      operands: [f([1, 1, 3, 3], iota(9)), f([1, 1, 2, 2], [1, 0, 0, 1]), f([1], [0.5])],
      apply: (x, w, b) => g.conv(x, w, b),
      shape: [1, 1, 2, 2],
      values: [6.5, 8.5, 12.5, 14.5],
    },
    {
      // Padding left and top only, stride 2.
      operands: [f([1, 1, 3, 3], iota(9)), f([1, 1, 2, 2], [1, 0, 0, 1])],
      apply: (x, w) => g.conv(x, w, undefined, { strides: [2, 2], pads: [1, 1, 0, 0] }),
      shape: [1, 1, 2, 2],
      values: [1, 3, 7, 14],
    },
    {
      operands: [f([1, 2, 1, 3], iota(6)), f([2, 1, 1, 2], [1, 1, 2, 2])],
      apply: (x, w) => g.conv(x, w, undefined, { dilations: [1, 2], group: 2 }),
      shape: [1, 2, 1, 1],
      values: [4, 20],
    },
  ],
  ConvTranspose: [
    {
      operands: [f([1, 1, 1, 2], [1, 2]), f([1, 1, 1, 2], [3, 4]), f([1], [0.5])],
      apply: (x, w, b) => g.convTranspose(x, w, b, { strides: [1, 2] }),
      shape: [1, 1, 1, 4],
      values: [3.5, 4.5, 6.5, 8.5],
    },
    {
      operands: [f([1, 2, 1, 1], [1, 2]), f([2, 1, 1, 2], [3, 4, 5, 6])],
      apply: (x, w) => g.convTranspose(x, w, undefined, { group: 2, strides: [1, 2], outputPadding: [0, 1] }),
      shape: [1, 2, 1, 3],
      values: [3, 4, 0, 10, 12, 0],
    },
  ],
  Resize: [
    {
      operands: [f([1, 1, 1, 2], [1, 2])],
      apply: (x) => g.resizeNearest(x, 2),
      shape: [1, 1, 2, 4],
      values: [1, 1, 2, 2, 1, 1, 2, 2],
    },
  ],
  ReduceSum: [
    { operands: [f([2, 3], iota(6))], apply: (x) => g.reduceSum(x, [-1]), shape: [2, 1], values: [6, 15] },
    {
      operands: [f([2, 3], iota(6))],
      apply: (x) => g.reduceSum(x, [0, 1], { keepDims: false }),
      shape: [],
      values: [21],
    },
  ],
  ReduceMean: [
    { operands: [f([2, 3], iota(6))], apply: (x) => g.reduceMean(x, [0]), shape: [1, 3], values: [2.5, 3.5, 4.5] },
  ],
  ReduceMax: [
    {
      operands: [f([2, 3], iota(6))],
      apply: (x) => g.reduceMax(x, [1], { keepDims: false }),
      shape: [2],
      values: [3, 6],
    },
  ],
  Softmax: [
    { operands: [f([1, 2], [0, Math.log(3)])], apply: (x) => g.softmax(x), shape: [1, 2], values: [0.25, 0.75] },
    { operands: [f([2, 1], [0, Math.log(3)])], apply: (x) => g.softmax(x, 0), shape: [2, 1], values: [0.25, 0.75] },
  ],
  LogSoftmax: [
    {
      operands: [f([1, 2], [0, Math.log(3)])],
      apply: (x) => g.logSoftmax(x),
      shape: [1, 2],
      values: [Math.log(0.25), Math.log(0.75)],
    },
  ],
  ArgMax: [
    { operands: [f([2, 3], [1, 5, 5, 9, 2, 3])], apply: (x) => g.argMax(x, -1, false), shape: [2], values: [1, 0] },
    { operands: [f([2, 3], [1, 5, 5, 9, 2, 3])], apply: (x) => g.argMax(x, 0), shape: [1, 3], values: [1, 0, 0] },
  ],
  CumSum: [
    { operands: [f([3], [1, 2, 3])], apply: (x) => g.cumSum(x, 0), shape: [3], values: [1, 3, 6] },
    {
      operands: [f([3], [1, 2, 3])],
      apply: (x) => g.cumSum(x, 0, { exclusive: true, reverse: true }),
      shape: [3],
      values: [5, 3, 0],
    },
  ],
  LayerNormalization: [
    {
      operands: [f([1, 2], [1, 3]), f([2], [2, 2]), f([2], [10, 20])],
      apply: (x, scale, bias) => g.layerNormalization(x, scale, bias, { epsilon: 0 }),
      shape: [1, 2],
      values: [8, 22],
    },
    {
      operands: [f([1, 2, 2], [1, 1, 3, 3]), f([2, 2], [1, 2, 3, 4])],
      apply: (x, scale) => g.layerNormalization(x, scale, undefined, { axis: 1, epsilon: 3 }),
      shape: [1, 2, 2],
      values: [-0.5, -1, 1.5, 2],
    },
  ],
  Reshape: [{ operands: [f([2, 3], iota(6))], apply: (x) => g.reshape(x, [3, -1]), shape: [3, 2], values: iota(6) }],
  Transpose: [
    { operands: [f([2, 3], iota(6))], apply: (x) => g.transpose(x, [1, 0]), shape: [3, 2], values: [1, 4, 2, 5, 3, 6] },
  ],
  Concat: [
    {
      operands: [f([2, 1], [1, 2]), f([2, 2], [3, 4, 5, 6])],
      apply: (a, b) => g.concat([a, b], -1),
      shape: [2, 3],
      values: [1, 3, 4, 2, 5, 6],
    },
  ],
  Split: [{ operands: [f([2, 2], iota(4))], apply: (x) => g.split(x, [1, 1], 1), shape: [2, 1], values: [1, 3, 2, 4] }],
  Slice: [
    { operands: [f([5], iota(5))], apply: (x) => g.slice(x, 0, 1, -1), shape: [3], values: [2, 3, 4] },
    { operands: [f([5], iota(5))], apply: (x) => g.slice(x, 0, 1, undefined, 2), shape: [2], values: [2, 4] },
    { operands: [f([5], iota(5))], apply: (x) => g.slice(x, 0, -2), shape: [2], values: [4, 5] },
  ],
  Expand: [
    { operands: [f([2, 1], [1, 2])], apply: (x) => g.expand(x, [2, 2]), shape: [2, 2], values: [1, 1, 2, 2] },
    {
      operands: [f([], [7]), f([2], [0, 0])],
      apply: (x, like) => g.add(g.expandLike(x, like), like),
      shape: [2],
      values: [7, 7],
    },
  ],
  Unsqueeze: [{ operands: [f([2], [1, 2])], apply: (x) => g.unsqueeze(x, [0, 2]), shape: [1, 2, 1], values: [1, 2] }],
  Squeeze: [{ operands: [f([1, 2, 1], [1, 2])], apply: (x) => g.squeeze(x, [0, -1]), shape: [2], values: [1, 2] }],
  Pad: [
    {
      operands: [f([1, 2], [1, 2])],
      apply: (x) => g.pad(x, [1, 0, 0, 1], 9),
      shape: [2, 3],
      values: [9, 9, 9, 1, 2, 9],
    },
    { operands: [f([3], [1, 2, 3])], apply: (x) => g.pad(x, [-1, 1]), shape: [3], values: [2, 3, 0] },
  ],
  Tile: [
    { operands: [f([1, 2], [1, 2])], apply: (x) => g.tile(x, [2, 2]), shape: [2, 4], values: [1, 2, 1, 2, 1, 2, 1, 2] },
  ],
  Shape: [{ operands: [f([2, 3], iota(6))], apply: (x) => g.shapeOf(x), shape: [2], values: [2, 3] }],
  Gather: [
    {
      operands: [f([3, 2], iota(6)), i([2], [2, 0])],
      apply: (x, at) => g.gather(x, at),
      shape: [2, 2],
      values: [5, 6, 1, 2],
    },
    {
      operands: [f([2, 3], iota(6)), i([1, 2], [2, 0])],
      apply: (x, at) => g.gather(x, at, 1),
      shape: [2, 1, 2],
      values: [3, 1, 6, 4],
    },
  ],
  GatherElements: [
    {
      operands: [f([2, 2], iota(4)), i([2, 1], [1, 0])],
      apply: (x, at) => g.gatherElements(x, at, 1),
      shape: [2, 1],
      values: [2, 3],
    },
  ],
  ScatterElements: [
    {
      operands: [f([3], [1, 2, 3]), i([3], [0, 2, 0]), f([3], [10, 20, 30])],
      apply: (x, at, updates) => g.scatterElements(x, at, updates, 0, "add"),
      shape: [3],
      values: [41, 2, 23],
    },
    {
      operands: [f([3], [1, 2, 3]), i([1], [1]), f([1], [10])],
      apply: (x, at, updates) => g.scatterElements(x, at, updates, 0),
      shape: [3],
      values: [1, 10, 3],
    },
  ],
  ScatterND: [
    {
      operands: [f([2, 2], iota(4)), i([3, 1], [1, 1, 0]), f([3, 2], [1, 2, 10, 20, 5, 5])],
      apply: (x, at, updates) => g.scatterND(x, at, updates, "add"),
      shape: [2, 2],
      values: [6, 7, 14, 26],
    },
  ],
  OneHot: [
    { operands: [i([2], [2, 0])], apply: (at) => g.oneHot(at, 3), shape: [2, 3], values: [0, 0, 1, 1, 0, 0] },
    { operands: [i([2], [1, 0])], apply: (at) => g.oneHot(at, 2, 0, "int64"), shape: [2, 2], values: [0, 1, 1, 0] },
  ],
  MultiHeadAttention: [
    {
      // One head of width 1: the weights are softmax([0, ln 3] * scale) = [1/4, 3/4].
      operands: [f([1, 1, 1], [1]), f([1, 2, 1], [0, Math.log(3) / 2]), f([1, 2, 1], [4, 8])],
      apply: (q, k, v) => g.multiHeadAttention(q, k, v, { heads: 1, scale: 2 }),
      shape: [1, 1, 1],
      values: [7],
    },
    {
      // Two heads of width 1 whose scores are 0; the mask of each head picks another key.
      operands: [
        f([1, 2, 2], [0, 0, 0, 0]),
        f([1, 2, 2], iota(4)),
        f([1, 2, 2], iota(4)),
        f([1, 2, 1, 2], [0, -1e4, -1e4, 0]),
      ],
      apply: (q, k, v, mask) => g.multiHeadAttention(q, k, v, { heads: 2, mask }),
      shape: [1, 2, 2],
      values: [1, 4, 1, 4],
    },
  ],
};
