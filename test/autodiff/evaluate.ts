/** @file Runs a graph in this process, for tests: ONNX Runtime directly, with or without its optimisations. */

import * as ort from "onnxruntime-node";
import type { Graph } from "#laurel/graph/types";
import { encodeModel } from "#laurel/onnx/encode";
import type { Tensor } from "#laurel/tensor/tensor";

/** Outputs of `graph` for `feeds`; parameters are fed by name like inputs. */
export async function evaluate(
  graph: Graph,
  feeds: Readonly<Record<string, Tensor>>,
  optimisation: "all" | "disabled" = "all",
  threads = 1,
): Promise<Record<string, Tensor>> {
  const session = await ort.InferenceSession.create(encodeModel(graph), {
    graphOptimizationLevel: optimisation,
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
  });
  const wanted = [...graph.inputs.keys(), ...graph.parameters.keys()];
  const results = await session.run(
    Object.fromEntries(
      wanted.map((name) => {
        const tensor = feeds[name];
        if (tensor === undefined) throw new Error(`evaluate: expected a feed ${name}, got none`);
        return [name, new ort.Tensor(tensor.dtype as "float32", tensor.data as Float32Array, tensor.shape)];
      }),
    ),
  );
  await session.release();
  return Object.fromEntries(
    Object.entries(results).map(([name, value]) => {
      const { type, dims, data } = value as ort.Tensor;
      return [name, { dtype: type, shape: dims, data } as unknown as Tensor];
    }),
  );
}
