/** @file Nodes written with other operators, where a runtime or an execution provider lacks one or computes it wrongly. */

import { attributesOf } from "../graph/op-table.js";
import type { AttributeValue, Node, OpType, Value } from "../graph/types.js";
import type { Tensor } from "../tensor/tensor.js";

/** Operators there is a substitute for. */
export type Substitutable = Extract<OpType, "FusedMatMul" | "MultiHeadAttention" | "Sin" | "Cos">;

/** What a substitute is written with. */
export interface NodeWriter {
  /** The name of a value of the graph. */
  nameOf(value: Value): string;
  /** The name of a constant. */
  constant(tensor: Tensor): string;
  /** Adds a node and returns its output: a new name unless one is given. */
  push(
    op: OpType,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, AttributeValue>>,
    output?: string,
  ): string;
}

const SUBSTITUTES = {
  FusedMatMul: (writer, node) => plainProduct(writer, node as Node<"FusedMatMul">),
  MultiHeadAttention: (writer, node) => plainAttention(writer, node as Node<"MultiHeadAttention">),
  Sin: (writer, node) => series(writer, node, "odd"),
  Cos: (writer, node) => series(writer, node, "even"),
} as const satisfies Readonly<Record<Substitutable, (writer: NodeWriter, node: Node) => void>>;

/** How to write a node with operators of ONNX itself; undefined where there is no other way. */
export function substituteOf(op: OpType): ((writer: NodeWriter, node: Node) => void) | undefined {
  return Object.hasOwn(SUBSTITUTES, op) ? SUBSTITUTES[op as Substitutable] : undefined;
}

/** alpha A' B' as Transpose, MatMul and Mul. */
function plainProduct(writer: NodeWriter, node: Node<"FusedMatMul">): void {
  const { transA, transB, alpha } = node.attributes;
  const own = writer.nameOf(node.outputs[0] as Value);
  const operand = (value: Value, transposed: boolean): string => {
    const name = writer.nameOf(value);
    if (!transposed) return name;
    const perm = value.shape.map((_, axis) => axis);
    perm.push(...perm.splice(-2).reverse());
    return writer.push("Transpose", [name], { perm });
  };
  const [a, b] = node.inputs as readonly [Value, Value];
  const operands = [operand(a, transA === 1), operand(b, transB === 1)];
  if (alpha === 1) writer.push("MatMul", operands, {}, own);
  else writer.push("Mul", [writer.push("MatMul", operands), scalar(writer, alpha)], {}, own);
}

/** softmax(q k' scale + mask) v per head, as products. */
function plainAttention(writer: NodeWriter, node: Node<"MultiHeadAttention">): void {
  const [q, k, v, , , mask] = node.inputs as readonly [Value, Value, Value, undefined, undefined, Value | undefined];
  const { num_heads: heads, scale } = attributesOf(node) as { num_heads: number; scale?: number };
  const width = (value: Value): number => value.shape[2] as number;
  const perHead = (value: Value, perm: readonly number[]): string => {
    // a 0 copies the size
    const shape = int64(writer, [0, 0, heads, width(value) / heads]);
    return writer.push("Transpose", [writer.push("Reshape", [writer.nameOf(value), shape])], { perm });
  };
  const factor = scalar(writer, scale ?? 1 / Math.sqrt(width(q) / heads));
  const scaled = writer.push("Mul", [perHead(q, [0, 2, 1, 3]), factor]);
  const scores = writer.push("MatMul", [scaled, perHead(k, [0, 2, 3, 1])]);
  const masked = mask === undefined ? scores : writer.push("Add", [scores, writer.nameOf(mask)]);
  const probabilities = writer.push("Softmax", [masked], { axis: -1 });
  const mixed = writer.push("MatMul", [probabilities, perHead(v, [0, 2, 1, 3])]);
  const rows = writer.push("Transpose", [mixed], { perm: [0, 2, 1, 3] });
  writer.push("Reshape", [rows, int64(writer, [0, 0, width(v)])], {}, writer.nameOf(node.outputs[0] as Value));
}

/** 2 pi in two parts: whole numbers below 2^9 times the first are exact in float32. */
const [TURN, TURN_REST] = [6.28125, 2 * Math.PI - 6.28125];
/** Of the series: the first term left out is below 2e-7 within half a turn. */
const TERMS = 9;

/**
 * Sine ("odd") or cosine by its series at the angle less whole turns: absolute error below 1e-6 up to 500 turns. WGSL promises 5e-4 within half
 * a turn and nothing beyond, and a step's embedding takes angles up to 1000.
 */
function series(writer: NodeWriter, node: Node, parity: "odd" | "even"): void {
  const times = (name: string, factor: number): string => writer.push("Mul", [name, scalar(writer, factor)]);
  const angle = writer.nameOf(node.inputs[0] as Value);
  const turns = writer.push("Floor", [writer.push("Add", [times(angle, 1 / (2 * Math.PI)), scalar(writer, 0.5)])]);
  const first = writer.push("Sub", [angle, times(turns, TURN)]);
  const rest = writer.push("Sub", [first, times(turns, TURN_REST)]);
  const square = writer.push("Mul", [rest, rest]);
  // nested: 1 - x^2/(a b) (1 - x^2/(c d) (...))
  let sum: string | undefined;
  for (let term = TERMS; term >= 1; term--) {
    const divisor = parity === "odd" ? 2 * term * (2 * term + 1) : (2 * term - 1) * 2 * term;
    const power = times(square, -1 / divisor);
    const part = sum === undefined ? power : writer.push("Mul", [power, sum]);
    const last = parity === "even" && term === 1;
    sum = writer.push("Add", [part, scalar(writer, 1)], {}, ...(last ? [writer.nameOf(node.outputs[0] as Value)] : []));
  }
  if (parity === "odd") writer.push("Mul", [rest, sum!], {}, writer.nameOf(node.outputs[0] as Value));
}

function scalar(writer: NodeWriter, value: number): string {
  return writer.constant({ dtype: "float32", shape: [], data: Float32Array.of(value) });
}

function int64(writer: NodeWriter, values: readonly number[]): string {
  return writer.constant({ dtype: "int64", shape: [values.length], data: BigInt64Array.from(values, BigInt) });
}
