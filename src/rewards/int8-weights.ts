/** @file The rounded weights of a network that multiplies in int8, in a file of Laurel's cache beside which the rest stays where it is. */

import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { InternalError } from "../errors.js";
import type { Value } from "../graph/types.js";
import { INT8_SUFFIXES, roundWeight } from "../nn/int8-product.js";
import { realValues } from "../tensor/real.js";
import type { Tensor } from "../tensor/tensor.js";
import { laurelCacheFolder } from "../util/user-folders.js";
import { openSafetensors, saveSafetensors, type TensorSource } from "../weights/safetensors.js";
import type { WeightEntry, WeightSource } from "../weights/types.js";

/** Of the rounding; another makes other files. */
const VERSION = 1;

/**
 * The weights of a graph of which some parameters are rounded: those come from a file of the cache, made from `source` when it is not there, a
 * quarter as large as the weights; the others are `weights`, where they lie.
 * @param parameters of the graph
 * @param weights by the names of the float32 network
 */
export async function int8Weights(
  parameters: ReadonlyMap<string, Value>,
  weights: ReadonlyMap<string, WeightEntry>,
  source: WeightSource,
): Promise<Map<string, WeightEntry>> {
  const keys = new Map([...source.entries].map(([key, entry]) => [placeOf(entry), key]));
  const rounded = new Map<string, TensorSource>();
  const whole = new Map<string, WeightEntry>();
  for (const [name, { shape }] of parameters) {
    const suffix = Object.values(INT8_SUFFIXES).find((one) => name.endsWith(one));
    const entry = weights.get(suffix === undefined ? name : name.slice(0, -suffix.length));
    if (entry === undefined) throw new InternalError(`int8 weights: expected a weight for ${name}, got none`);
    const key = keys.get(placeOf(entry));
    if (suffix === undefined) whole.set(name, entry);
    else if (key === undefined) throw new InternalError(`int8 weights: expected ${name} in its file, got none`);
    else
      rounded.set(
        name,
        deferred(name, shape as readonly number[], () => source.read(key)),
      );
  }
  const path = await cachedFile([...rounded.keys()], [...weights.values()]);
  const there = await stat(path).catch(() => undefined);
  if (there === undefined) {
    await mkdir(dirname(path), { recursive: true });
    await saveSafetensors(path, rounded, { laurel: `int8 weights, version ${VERSION}` });
  }
  return new Map([...whole, ...(await openSafetensors(path)).entries]);
}

function placeOf({ file, offset }: WeightEntry): string {
  return `${file}:${offset}`;
}

function deferred(name: string, shape: readonly number[], read: () => Promise<Tensor>): TensorSource {
  const wanted = name.endsWith(INT8_SUFFIXES.values) ? "values" : "scale";
  const dtype = wanted === "values" ? "int8" : "float32";
  return {
    dtype,
    shape,
    read: async () => {
      const weight = await read();
      return { dtype, shape, data: roundWeight(realValues(weight), weight.shape[0]!)[wanted] } as Tensor;
    },
  };
}

/** Named by what it is made of: the names, and the files as they are now. */
async function cachedFile(names: readonly string[], entries: readonly WeightEntry[]): Promise<string> {
  const files = [...new Set(entries.map(({ file }) => file))].sort();
  const states = await Promise.all(
    files.map(async (file) => {
      const { size, mtimeMs } = await stat(file);
      return [file, size, mtimeMs];
    }),
  );
  const digest = createHash("sha256")
    .update(JSON.stringify([VERSION, names, states]))
    .digest("hex");
  return join(laurelCacheFolder(), "int8", `${digest.slice(0, 32)}.safetensors`);
}
