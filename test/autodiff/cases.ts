/** @file How each golden case is built with Laurel's graph functions; names are those of test/reference/autodiff.py. */

import * as g from "#laurel/graph/builder";
import type { ConvOptions, ConvTransposeOptions, GemmOptions, Value } from "#laurel/graph/builder";
import { float32, int64 } from "#laurel/tensor/tensor";

/** Values by input name. */
type Inputs = Readonly<Record<string, Value>>;
/** Builds a case's outputs; a list for several. */
export type Build = (inputs: Inputs) => Value | (Value | undefined)[];

const x1 =
  (f: (x: Value) => Value): Build =>
  ({ x }) =>
    f(x as Value);
const ab =
  (f: (a: Value, b: Value) => Value): Build =>
  ({ a, b }) =>
    f(a as Value, b as Value);
const conv =
  (options: ConvOptions = {}): Build =>
  ({ x, w, b }) =>
    g.conv(x as Value, w as Value, b, options);
const convTranspose =
  (options: ConvTransposeOptions = {}): Build =>
  ({ x, w, b }) =>
    g.convTranspose(x as Value, w as Value, b, options);
const gemm =
  (options: GemmOptions = {}): Build =>
  ({ a, b, c }) =>
    g.gemm(a as Value, b as Value, c, options);
const pads = [1, 1, 1, 1] as const;
const constantIndices = (values: number[]): Value => g.constant(int64([values.length], values));
const ones = (size: number): Value => g.constant(float32([size], new Float32Array(size).fill(1)));

function groupNorm(x: Value, scale: Value, bias: Value, groups: number, epsilon: number): Value {
  const [batch = 1, channels, height, width] = x.shape as [g.Dim, number, number, number];
  const size = (channels / groups) * height * width;
  const rows = g.reshape(x, [typeof batch === "number" ? batch * groups : `${groups}*${batch}`, size]);
  const normal = g.reshape(g.layerNormalization(rows, ones(size), undefined, { epsilon }), x.shape);
  return g.add(g.mul(normal, g.reshape(scale, [channels, 1, 1])), g.reshape(bias, [channels, 1, 1]));
}

/** The small network of the last case. */
const block: Build = (inputs) => {
  const { x, scale, bias, w1, b1, w2, w3, token } = inputs as Record<string, Value> as Record<
    "x" | "scale" | "bias" | "w1" | "b1" | "w2" | "w3" | "token",
    Value
  >;
  let h = g.conv(g.silu(groupNorm(x, scale, bias, 2, 1e-5)), w1, b1, { pads });
  const batch = x.shape[0] as g.Dim;
  let rows = g.transpose(g.reshape(h, [batch, 4, 16]), [0, 2, 1]);
  const [q, k, v] = g.split(g.matMul(rows, w2), [4, 4, 4], 2) as [Value, Value, Value];
  const probabilities = g.softmax(g.fusedMatMul(q, k, { transB: true, alpha: 0.5 }));
  rows = g.add(rows, g.matMul(probabilities, v));
  const flat = g.reshape(rows, [-1, 4]);
  const up = g.gelu(g.gemm(flat, w3, undefined, { transB: true }));
  rows = g.add(rows, g.reshape(g.gemm(up, w3), rows.shape));
  h = g.add(g.reshape(g.transpose(rows, [0, 2, 1]), h.shape), g.unsqueeze(token, [2, 3]));
  return g.add(g.resizeNearest(g.conv(h, w1, b1, { strides: [2, 2], pads }), 2), x);
};

/** A builder for every case of the fixture. */
export const BUILDS: Readonly<Record<string, Build>> = {
  ...Object.fromEntries(
    (["add", "sub", "mul"] as const).flatMap((op) =>
      ["of equal shapes", "broadcasts [2,3,4] with [3,1]", "broadcasts [1,4] with [2,3,1]"].map((how) => [
        `${op} ${how}`,
        ab(g[op]),
      ]),
    ),
  ),
  "div broadcasts": ab(g.div),
  "pow with a tensor exponent": ab(g.pow),
  "pow with exponent 2": ({ a }) => g.pow(a as Value, 2),
  "pow with exponent 3": ({ a }) => g.pow(a as Value, 3),
  "pow with exponent -0.5": ({ a }) => g.pow(a as Value, -0.5),
  "max broadcasts": ab(g.max),
  "min broadcasts": ab(g.min),
  "max shares a tie": ab(g.max),
  "min shares a tie": ab(g.min),
  neg: x1(g.neg),
  abs: x1(g.abs),
  sqrt: x1(g.sqrt),
  reciprocal: x1(g.reciprocal),
  exp: x1(g.exp),
  log: x1(g.log),
  erf: x1(g.erf),
  sin: x1(g.sin),
  cos: x1(g.cos),
  tanh: x1(g.tanh),
  sigmoid: x1(g.sigmoid),
  relu: x1(g.relu),
  softplus: x1(g.softplus),
  gelu: x1((x) => g.gelu(x)),
  "gelu approximated by tanh": x1((x) => g.gelu(x, "tanh")),
  silu: x1(g.silu),
  "quick gelu": x1((x) => g.mul(x, g.sigmoid(g.mul(x, 1.702)))),
  where: ({ x, y, c }) => g.where(g.greater(c as Value, 0), x as Value, y as Value),
  clip: x1((x) => g.clip(x, -0.5, 0.7)),
  identity: x1(g.identity),
  "cast to float64 and back": x1((x) => g.cast(g.mul(g.cast(x, "float64"), g.cast(x, "float64")), "float32")),
  "sign stops": x1((x) => g.mul(g.sign(x), x)),
  "fan-out accumulates": x1((x) => g.add(g.mul(x, g.exp(x)), g.mul(g.sin(x), x))),
  "matmul 2-D": ab(g.matMul),
  "matmul batched": ab(g.matMul),
  "matmul 3-D with 2-D": ab(g.matMul),
  "matmul 2-D with 3-D": ab(g.matMul),
  "matmul broadcasts batches": ab(g.matMul),
  ...Object.fromEntries(
    [0, 1].flatMap((transA) =>
      [0, 1].flatMap((transB): [string, Build][] => {
        const flags = { transA: transA === 1, transB: transB === 1 };
        const name = `transA=${transA} transB=${transB}`;
        return [
          [`fused matmul ${name}`, ab((a, b) => g.fusedMatMul(a, b, { ...flags, alpha: 0.7 }))],
          [`gemm ${name}`, gemm({ ...flags, alpha: 0.7, beta: 1.3 })],
        ];
      }),
    ),
  ),
  "gemm without c": gemm({ transB: true }),
  "gemm with a full c": gemm({ transB: true }),
  "conv 3x3 padded": conv({ pads }),
  "conv 3x3 unpadded without bias": conv(),
  "conv 1x1": conv(),
  "conv 1x1 stride 2": conv({ strides: [2, 2] }),
  "conv 3x3 stride 2": conv({ strides: [2, 2], pads }),
  "conv 3x3 stride 2, odd size": conv({ strides: [2, 2], pads }),
  "conv 3x3 stride 2, padded at the end": conv({ strides: [2, 2], pads: [0, 0, 1, 1] }),
  "conv patches 4x4 stride 4": conv({ strides: [4, 4] }),
  "conv 3x3 dilated": conv({ pads: [2, 2, 2, 2], dilations: [2, 2] }),
  "conv 3x2 with uneven pads": conv({ pads: [2, 0, 1, 1] }),
  "conv 1x1 padded beyond the kernel": conv({ pads }),
  "conv 3x3 in two groups": conv({ pads, group: 2 }),
  "conv 3x3 depthwise stride 2": conv({ strides: [2, 2], pads, group: 4 }),
  "conv 3x3 stride 3 with unread pixels": conv({ strides: [3, 3] }),
  "conv transpose 2x2 stride 2": convTranspose({ strides: [2, 2] }),
  "conv transpose 3x3 stride 2, output padded": convTranspose({ strides: [2, 2], pads, outputPadding: [1, 1] }),
  "conv transpose 3x3 stride 1 without bias": convTranspose({ pads }),
  "conv transpose 3x3 in two groups": convTranspose({ strides: [2, 2], pads, group: 2 }),
  "resize nearest by 2": x1((x) => g.resizeNearest(x, 2)),
  "resize nearest by 3": x1((x) => g.resizeNearest(x, 3)),
  "reduce sum keeps dims": x1((x) => g.reduceSum(x, [1])),
  "reduce sum over the batch": x1((x) => g.reduceSum(x, [0, -1], { keepDims: false })),
  "reduce sum of everything": x1((x) => g.reduceSum(x, [0, 1, 2], { keepDims: false })),
  "reduce mean keeps dims": x1((x) => g.reduceMean(x, [-1])),
  "reduce mean over two axes": x1((x) => g.reduceMean(x, [1, 2], { keepDims: false })),
  "reduce mean over the batch": x1((x) => g.reduceMean(x, [0, 1], { keepDims: false })),
  "reduce mean of everything": x1((x) => g.reduceMean(x, [0, 1, 2], { keepDims: false })),
  "reduce max": x1((x) => g.reduceMax(x, [1], { keepDims: false })),
  "reduce max shares ties": x1((x) => g.reduceMax(x, [1])),
  softmax: x1((x) => g.softmax(x)),
  "softmax over axis 1": x1((x) => g.softmax(x, 1)),
  "log softmax": x1((x) => g.logSoftmax(x)),
  "layer norm": ({ x, scale, bias }) => g.layerNormalization(x as Value, scale as Value, bias),
  "layer norm far from zero": ({ x, scale, bias }) => g.layerNormalization(x as Value, scale as Value, bias),
  "layer norm without bias": ({ x, scale }) => g.layerNormalization(x as Value, scale as Value),
  "layer norm with unit scale": x1((x) => g.layerNormalization(x, ones(7))),
  "layer norm over two axes": ({ x, scale, bias }) =>
    g.layerNormalization(x as Value, scale as Value, bias, { axis: 1, epsilon: 1e-6 }),
  "layer norm of tiny values": ({ x, scale, bias }) =>
    g.layerNormalization(x as Value, scale as Value, bias, { epsilon: 1e-3 }),
  "group norm by layer norm": ({ x, scale, bias }) => groupNorm(x as Value, scale as Value, bias as Value, 3, 1e-6),
  "reshape merges the batch": x1((x) => g.reshape(x, [-1, 4])),
  "reshape splits a dimension": x1((x) => g.reshape(x, [x.shape[0] as g.Dim, 3, 4])),
  flatten: x1((x) => g.flatten2d(x)),
  transpose: x1((x) => g.transpose(x, [0, 2, 3, 1])),
  "transpose of the batch": x1((x) => g.transpose(x, [2, 0, 1])),
  concat: ({ a, b, c }) => g.concat([a as Value, b as Value, c as Value], 1),
  "concat of batches": ab((a, b) => g.concat([a, b], 0)),
  "concat towards one target": ab((a, b) => g.concat([a, b], -1)),
  split: ({ x }) => g.split(x as Value, [1, 3, 2], 1),
  "split with an unused part": ({ x }) => {
    const [first, , last] = g.split(x as Value, [1, 3, 2], 1);
    return [first, undefined, last];
  },
  slice: x1((x) => g.slice(x, 1, 1, 4)),
  "slice to the end": x1((x) => g.slice(x, 2, -2)),
  expand: x1((x) => g.expand(x, [2, 3, 4])),
  "expand along the batch": ({ x, like }) => g.expandLike(x as Value, like as Value),
  unsqueeze: x1((x) => g.unsqueeze(x, [1, 3])),
  squeeze: x1((x) => g.squeeze(x, [1, -1])),
  "gather rows of a table": ({ x, i }) => g.gather(x as Value, i as Value),
  "gather one position": x1((x) => g.gather(x, g.scalar(2, "int64"), 1)),
  "gather some positions, one twice": x1((x) => g.gather(x, constantIndices([3, 0, 3]), 1)),
  "gather by an input along axis 1": ({ x, i }) => g.gather(x as Value, i as Value, 1),
  pad: x1((x) => g.pad(x, [0, 1, 2, 0, 3, 0])),
  tile: x1((x) => g.tile(x, [1, 4])),
  "scatter of updates": ({ x, i, u }) => g.scatterND(x as Value, i as Value, u as Value, "add"),
  "scatter of elements": ({ x, i, u }) => g.scatterElements(x as Value, i as Value, u as Value, 0, "add"),
  "gather of elements": ({ x, i }) => g.gatherElements(x as Value, i as Value, 1),
  "cumulative sum": x1((x) => g.cumSum(x, 1)),
  "multi-head attention": ({ q, k, v }) => g.multiHeadAttention(q as Value, k as Value, v as Value, { heads: 2 }),
  "multi-head attention with a mask": ({ q, k, v, mask }) =>
    g.multiHeadAttention(q as Value, k as Value, v as Value, { heads: 2, mask: mask as Value }),
  "a residual block with attention": block,
};
