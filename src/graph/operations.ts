/** @file How much arithmetic a graph is, counted by its products of matrices. */

import { type Dim, parseDim, type Shape } from "./dims.js";
import type { Graph, Node, OpType } from "./types.js";

/** Sizes of dimensions and shapes whose symbols are known. */
interface Sizes {
  size(dim: Dim): number;
  elements(shape: Shape): number;
}

function product({ inputs, outputs, attributes }: Node, { size, elements }: Sizes): number {
  const { transA } = attributes as { readonly transA?: number };
  return elements(outputs[0]!.shape) * size(inputs[0]!.shape.at(transA === 1 ? -2 : -1)!);
}

/** Multiplications with additions of the ops that are products of matrices. */
const PRODUCTS: Partial<Record<OpType, (node: Node, sizes: Sizes) => number>> = {
  Gemm: product,
  MatMul: product,
  FusedMatMul: product,
  Conv: ({ inputs, outputs }, { elements }) => elements(outputs[0]!.shape) * elements(inputs[1]!.shape.slice(1)),
  ConvTranspose: ({ inputs }, { elements }) => elements(inputs[0]!.shape) * elements(inputs[1]!.shape.slice(1)),
  // queries with keys, then probabilities with values
  MultiHeadAttention: ({ inputs, outputs }, { size, elements }) =>
    (elements(inputs[0]!.shape) + elements(outputs[0]!.shape)) * size(inputs[1]!.shape[1]!),
};

/**
 * Floating-point operations (two for a multiplication with its addition) of all products of matrices and convolutions in `graph`, which are nearly all
 * of a network's.
 * @param symbols sizes of its symbolic dimensions, such as `{ N: 1 }`; 1 for those that are not named
 */
export function matrixOperations(graph: Graph, symbols: Readonly<Record<string, number>>): number {
  const size = (dim: Dim): number => {
    const { factor, symbol } = parseDim(dim);
    return symbol === undefined ? factor : factor * (symbols[symbol] ?? 1);
  };
  const elements = (shape: Shape): number => shape.reduce<number>((total, dim) => total * size(dim), 1);
  return graph.nodes.reduce((sum, node) => sum + 2 * (PRODUCTS[node.op]?.(node, { size, elements }) ?? 0), 0);
}
