/**
 * @file Everything that builds graphs, under one roof: a function an ONNX operator, from immutable values to immutable values, with shapes and
 * dtypes inferred and checked where it is called.
 * @module
 */

export { graph } from "./assemble.js";
export { constant, input, integers, parameter, scalar } from "./emit.js";
export { withOrigin } from "./origin.js";
export { describe } from "./infer.js";
export * from "./ops/attention.js";
export * from "./ops/conv.js";
export * from "./ops/elementwise.js";
export * from "./ops/indexing.js";
export * from "./ops/matrix.js";
export * from "./ops/normalisation.js";
export * from "./ops/reduction.js";
export * from "./ops/shape.js";
export type {
  Attributes,
  AttributesOf,
  Dim,
  Graph,
  Node,
  OpType,
  Shape,
  Value,
  ValueSource,
  ValueType,
} from "./types.js";
