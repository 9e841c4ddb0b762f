/** @file The graph's data: values, nodes and graphs, immutable once made. */

import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import type { Dim } from "./dims.js";
import type { AttributesOf, OpType } from "./op-attributes.js";

export type { Dim, Shape } from "./dims.js";
export type { Attributes, AttributesOf, AttributeValue, OpType } from "./op-attributes.js";

/** What a value is, without where it comes from. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** A tensor that flows through a graph. */
export interface Value extends ValueType {
  /** Unique in the process; grows with the order of making. */
  readonly id: number;
  readonly source: ValueSource;
}

/** Where a value comes from: fed by name, a weight by checkpoint key, a constant, or an output of a node. */
export type ValueSource =
  | { readonly kind: "input"; readonly name: string }
  | { readonly kind: "parameter"; readonly name: string }
  | { readonly kind: "constant"; readonly tensor: Tensor }
  | { readonly kind: "node"; readonly node: Node; readonly index: number };

/** One application of an op. An optional operand left out is undefined. */
export interface Node<K extends OpType = OpType> {
  /** Unique in the process; greater than that of every node it depends on. */
  readonly id: number;
  readonly op: K;
  readonly inputs: readonly (Value | undefined)[];
  readonly attributes: AttributesOf<K>;
  readonly outputs: readonly Value[];
  /** `file:line` of the model code that built it. */
  readonly origin: string;
}

/** A computation: everything its outputs need, nothing else. */
export interface Graph {
  readonly name: string;
  readonly inputs: ReadonlyMap<string, Value>;
  readonly parameters: ReadonlyMap<string, Value>;
  readonly outputs: ReadonlyMap<string, Value>;
  /** In topological order. */
  readonly nodes: readonly Node[];
}

/** One op: how many operands it takes and what it returns. Attributes are declared in `OP_ATTRIBUTES`. */
export interface OpSpec<K extends OpType> {
  /** Operator set other than ONNX's own. */
  readonly domain?: "com.microsoft";
  /** Fewest and most operands. */
  readonly arity: readonly [number, number];
  /** Types of the outputs. @throws OperandError when operands do not fit. */
  infer(inputs: readonly (Value | undefined)[], attributes: AttributesOf<K>): readonly ValueType[];
}

/** The specs of some ops: a total table over `K`. */
export type OpFamily<K extends OpType> = { readonly [Op in K]: OpSpec<Op> };
