/** @file Shared by the networks' tests: golden files, running a graph in this process, and comparing tensors. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import * as ort from "onnxruntime-node";
import { expect } from "vitest";
import { input } from "#laurel/graph/builder";
import type { Dim, Graph, Value } from "#laurel/graph/types";
import { encodeModel } from "#laurel/onnx/encode";
import type { DType } from "#laurel/tensor/dtype";
import { elementCount, tensor } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import { resolveWeights } from "#laurel/weights/resolve";
import { openSafetensors } from "#laurel/weights/safetensors";
import type { WeightRef, WeightSource } from "#laurel/weights/types";

/** One golden network: its folder, weights, and tensors `in.*`, `out.*`, `up.*`, `grad.*`. */
export interface Golden {
  readonly folder: string;
  readonly source: WeightSource;
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** A JSON file of the folder. */
  json(file: string): Promise<unknown>;
}

/** The path of a fixture of test/fixtures/models. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/models/${name}`, import.meta.url));
}

export async function openGolden(name: string): Promise<Golden> {
  const folder = fixture(name);
  const golden = await openSafetensors(`${folder}/golden.safetensors`);
  const tensors = new Map<string, Tensor>();
  for (const key of golden.entries.keys()) {
    tensors.set(key, await golden.read(key));
  }
  const weights = ["model", "diffusion_pytorch_model", "ImageReward"].map((file) => `${folder}/${file}.safetensors`);
  for (const file of weights) {
    const source = await openWeights(file).catch(() => undefined);
    if (source !== undefined) {
      return { folder, source, tensors, json: async (name) => JSON.parse(await readFile(`${folder}/${name}`, "utf8")) };
    }
  }
  throw new Error(`${folder}: expected weights, got none`);
}

/** A graph input shaped like a golden tensor, with a symbolic batch. */
export function inputLike(golden: Golden, name: string): Value {
  const { dtype, shape } = take(golden.tensors, `in.${name}`);
  return input(name, dtype, ["N", ...shape.slice(1)] as Dim[]);
}

export function take(tensors: ReadonlyMap<string, Tensor>, name: string): Tensor {
  const found = tensors.get(name);
  if (found === undefined) {
    throw new Error(`golden: expected ${name}, got ${[...tensors.keys()].join(", ")}`);
  }
  return found;
}

/** A graph compiled in this process. */
export interface Compiled {
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** Compiles a graph with its weights taken strictly from `source`; `replace` puts other tensors in their place. */
export async function compile(
  graph: Graph,
  source: WeightSource,
  options: { ignore?: readonly RegExp[]; replace?: ReadonlyMap<string, Tensor>; level?: "all" | "disabled" } = {},
): Promise<Compiled> {
  const weights = new Map<string, WeightRef>(
    resolveWeights(graph.parameters, source, { where: graph.name, ...(options.ignore && { ignore: options.ignore }) }),
  );
  options.replace?.forEach((value, name) => weights.set(name, value));
  const session = await ort.InferenceSession.create(encodeModel(graph, { weights }), {
    extra: { session: { model_external_initializers_file_folder_path: "/" } },
    graphOptimizationLevel: options.level ?? "all",
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  return {
    async run(feeds) {
      const given = Object.fromEntries(
        session.inputNames.map((name) => {
          const value = take(new Map(Object.entries(feeds)), name);
          return [name, new ort.Tensor(value.dtype as "float32", value.data as Float32Array, value.shape)];
        }),
      );
      const results = await session.run(given);
      return Object.fromEntries(
        Object.entries(results).map(([name, value]) => [
          name,
          tensor(value.type as DType, value.dims, value.data as Float32Array),
        ]),
      );
    },
  };
}

/** The golden inputs by name. */
export function feedsOf(golden: Golden): Record<string, Tensor> {
  return Object.fromEntries(
    [...golden.tensors].filter(([key]) => key.startsWith("in.")).map(([key, value]) => [key.slice(3), value]),
  );
}

/** max |actual - expected| / max |expected| */
export function relativeError(actual: Tensor | undefined, expected: Tensor): number {
  if (actual === undefined || actual.shape.join() !== expected.shape.join()) {
    throw new Error(`compare: expected [${expected.shape.join()}], got [${actual?.shape.join() ?? "nothing"}]`);
  }
  const [a, b] = [actual.data as Float32Array, expected.data as Float32Array];
  let [difference, scale] = [0, 0];
  a.forEach((value, index) => {
    difference = Math.max(difference, Math.abs(value - (b[index] as number)));
    scale = Math.max(scale, Math.abs(b[index] as number));
  });
  return difference / scale;
}

/** Rows `start` to before `end` of every feed. */
export function rowsOf(feeds: Readonly<Record<string, Tensor>>, start: number, end: number): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(feeds).map(([name, value]) => {
      const size = elementCount(value.shape.slice(1));
      return [
        name,
        tensor(value.dtype, [end - start, ...value.shape.slice(1)], value.data.slice(start * size, end * size)),
      ];
    }),
  );
}

/** Every row, computed in a batch of every size from 1 to 5, has the same bits. */
export async function expectIndependentRows(
  compiled: Compiled,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<void> {
  const count = Object.values(feeds)[0]?.shape[0] ?? 0;
  const single: Record<string, Tensor>[] = [];
  for (let row = 0; row < count; row++) {
    single.push(await compiled.run(rowsOf(feeds, row, row + 1)));
  }
  for (let size = 2; size <= 5; size++) {
    const order = Array.from({ length: size }, (_, index) => (index * 2 + 1) % count);
    const mixed = Object.fromEntries(
      Object.entries(feeds).map(([name, value]) => [
        name,
        stack(order.map((row) => take(mapOf(rowsOf({ [name]: value }, row, row + 1)), name))),
      ]),
    );
    const results = await compiled.run(mixed);
    order.forEach((row, index) => {
      for (const [name, value] of Object.entries(rowsOf(results, index, index + 1))) {
        expect(value.data, `${name} of row ${row} in a batch of ${size}`).toEqual(single[row]?.[name]?.data);
      }
    });
  }
}

function mapOf(tensors: Readonly<Record<string, Tensor>>): Map<string, Tensor> {
  return new Map(Object.entries(tensors));
}

function stack(rows: readonly Tensor[]): Tensor {
  const first = rows[0] as Tensor;
  const size = first.data.length;
  const data = first.data.slice(0, 0).constructor as new (length: number) => Float32Array;
  const joined = new data(size * rows.length);
  rows.forEach((row, index) => joined.set(row.data as Float32Array, index * size));
  return tensor(first.dtype, [rows.length, ...first.shape.slice(1)], joined as never);
}
