/** @file What ONNX Runtime reaches on matrix products alone: the yardstick of a network that consists of them. */

import { graph, input, slice } from "../dist/graph/builder.js";
import { rootScope } from "../dist/nn/scope.js";
import { float32 } from "../dist/tensor/tensor.js";
import { matrixOperations } from "../dist/graph/operations.js";

/**
 * A program on `device` of the products `build(scope, rows)` returns, `rows` of `[R, width]`, with weights of the network itself and
 * nothing between them.
 */
export async function openGemmPeak(device, weights, width, build) {
  const scope = rootScope({ mode: "inference" });
  const products = build(scope, input("rows", "float32", ["R", width]));
  // one column of each leaves the program, so that nothing large has to
  const outputs = products.map((product, index) => [`column${index}`, slice(product, 1, 0, 1)]);
  const network = graph("gemm-peak", Object.fromEntries(outputs));
  const own = new Map([...weights].filter(([name]) => network.parameters.has(name)));
  const program = await device.compile(network, { weights: own });
  const feeds = new Map();
  return {
    /** FLOP/s of one run with `count` rows. */
    async flopRate(count) {
      if (!feeds.has(count))
        feeds.set(
          count,
          Float32Array.from({ length: count * width }, (_, i) => Math.sin(i)),
        );
      const started = program.runMs;
      await program.run({ rows: float32([count, width], feeds.get(count)) });
      return matrixOperations(network, { R: count }) / ((program.runMs - started) / 1000);
    },
  };
}
