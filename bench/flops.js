/** @file How much arithmetic a graph's matrix products are. */

import { parseDim } from "../dist/graph/dims.js";

/** Floating-point operations (two per multiply-add) of every product of matrices in `graph`, with its symbols set to `symbols`. */
export function matrixFlops(graph, symbols) {
  const size = (dim) => {
    const { factor, symbol } = parseDim(dim);
    return symbol === undefined ? factor : factor * symbols[symbol];
  };
  const elements = (shape) => shape.reduce((product, dim) => product * size(dim), 1);
  const multiplyAdds = ({ op, inputs, outputs, attributes }) => {
    switch (op) {
      case "Gemm":
      case "MatMul":
      case "FusedMatMul":
        return elements(outputs[0].shape) * size(inputs[0].shape.at(attributes.transA ? -2 : -1));
      case "Conv":
        return elements(outputs[0].shape) * elements(inputs[1].shape.slice(1));
      case "ConvTranspose":
        return elements(inputs[0].shape) * elements(inputs[1].shape.slice(1));
      case "MultiHeadAttention": {
        // queries with keys, then probabilities with values
        const [, keys] = inputs[1].shape;
        return elements(inputs[0].shape) * size(keys) + elements(outputs[0].shape) * size(keys);
      }
      default:
        return 0;
    }
  };
  return graph.nodes.reduce((sum, node) => sum + 2 * multiplyAdds(node), 0);
}
