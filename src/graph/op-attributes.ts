/** @file Which attributes each op has, by ONNX name and kind; the op types themselves are this table's keys. */

/** How an attribute is written into the file: an `int` is never written for a `float`. "?" marks what may be left out. */
export type AttributeKind = "int" | "float" | "string" | "ints" | "int?" | "float?";

/** Attributes of every op. Its key set is closed: `OPS` and autodiff's rules are total over it. */
export const OP_ATTRIBUTES = {
  // elementwise
  Add: {},
  Sub: {},
  Mul: {},
  Div: {},
  Pow: {},
  Max: {},
  Min: {},
  Neg: {},
  Abs: {},
  Sqrt: {},
  Reciprocal: {},
  Exp: {},
  Log: {},
  Erf: {},
  Sin: {},
  Cos: {},
  Tanh: {},
  Sigmoid: {},
  Relu: {},
  Softplus: {},
  Gelu: { approximate: "string" },
  Sign: {},
  Floor: {},
  Equal: {},
  Greater: {},
  Less: {},
  Not: {},
  And: {},
  Or: {},
  Where: {},
  Cast: { to: "int" },
  Clip: {},
  Identity: {},
  // matrix
  MatMul: {},
  Gemm: { transA: "int", transB: "int", alpha: "float", beta: "float" },
  FusedMatMul: { transA: "int", transB: "int", alpha: "float" },
  DynamicQuantizeMatMul: {},
  // conv
  Conv: { strides: "ints", pads: "ints", dilations: "ints", group: "int", kernel_shape: "ints" },
  ConvTranspose: { strides: "ints", pads: "ints", output_padding: "ints", group: "int", kernel_shape: "ints" },
  Resize: { mode: "string", coordinate_transformation_mode: "string", nearest_mode: "string" },
  // reduction
  ReduceSum: { keepdims: "int" },
  ReduceMean: { keepdims: "int" },
  ReduceMax: { keepdims: "int" },
  Softmax: { axis: "int" },
  LogSoftmax: { axis: "int" },
  ArgMax: { axis: "int", keepdims: "int" },
  CumSum: { exclusive: "int", reverse: "int" },
  // normalisation
  LayerNormalization: { axis: "int", epsilon: "float" },
  // shape
  Reshape: {},
  Transpose: { perm: "ints" },
  Concat: { axis: "int" },
  Split: { axis: "int", num_outputs: "int?" },
  Slice: {},
  Expand: {},
  Unsqueeze: {},
  Squeeze: {},
  Pad: { mode: "string" },
  Tile: {},
  Shape: { start: "int", end: "int" },
  // indexing
  Gather: { axis: "int" },
  GatherElements: { axis: "int" },
  ScatterElements: { axis: "int", reduction: "string" },
  ScatterND: { reduction: "string" },
  OneHot: { axis: "int" },
  // attention
  MultiHeadAttention: { num_heads: "int", scale: "float?", mask_filter_value: "float?" },
} as const satisfies Record<string, Record<string, AttributeKind>>;

/** ONNX op types Laurel builds with. */
export type OpType = keyof typeof OP_ATTRIBUTES;

/** Any attribute's value. */
export type AttributeValue = number | string | readonly number[];

/** A node's attributes, not told apart by op. */
export type Attributes = Readonly<Record<string, AttributeValue | undefined>>;

interface ValueOfKind {
  int: number;
  float: number;
  string: string;
  ints: readonly number[];
  "int?": number;
  "float?": number;
}

type FromSchema<S> = {
  readonly [A in keyof S as S[A] extends `${string}?` ? never : A]: ValueOfKind[S[A] & AttributeKind];
} & {
  readonly [A in keyof S as S[A] extends `${string}?` ? A : never]?: ValueOfKind[S[A] & AttributeKind];
};

/** The attributes of op `K`, by name and type; a union for a union of ops. */
export type AttributesOf<K extends OpType> = K extends OpType ? FromSchema<(typeof OP_ATTRIBUTES)[K]> : never;
