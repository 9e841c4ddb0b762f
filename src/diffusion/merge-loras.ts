/** @file LoRAs made part of a model's own weights. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.js";
import { realValues } from "../tensor/real.js";
import type { Tensor } from "../tensor/tensor.js";
import {
  notAFolder,
  type ReplacedWeights,
  saveDiffusersFolder,
  type SaveFolderOptions,
} from "../weights/diffusers-folder.js";
import { matchLora } from "../weights/lora/match.js";
import { openLora } from "../weights/lora/open.js";
import { addUpdate } from "../weights/lora/product.js";
import type { AdaptableLayers, LoraComponent, LoraLayer } from "../weights/lora/types.js";
import { openWeights } from "../weights/open.js";
import type { DeferredTensor } from "../weights/safetensors.js";
import { adaptableLayers } from "./lora.js";
import { readNetworkConfigs } from "./networks.js";
import { readModel } from "./read-model.js";
import type { LoraRequest } from "./request.js";

/** The layers of a diffusers folder that a LoRA can change. @throws ModelError for a folder of another kind */
export async function layersOfModel(directory: string): Promise<AdaptableLayers> {
  const configs = readNetworkConfigs(await readModel(directory));
  return adaptableLayers(configs, configs.text.maxPositions);
}

/** What is added to one weight. */
interface Addition {
  readonly layer: LoraLayer;
  readonly scale: number;
}

/**
 * Writes a diffusers folder whose weights are those of `directory` plus the LoRAs at their scales, in the dtypes they have there.
 * @returns the weights that were changed, of each network
 * @throws ModelError for a LoRA that does not fit, UsageError without LoRAs or for a folder that cannot be written
 */
export async function mergeLoras(
  directory: string,
  loras: readonly LoraRequest[],
  to: string,
  options: SaveFolderOptions = {},
): Promise<ReadonlyMap<LoraComponent, number>> {
  if (loras.length === 0) throw new UsageError("merge: expected LoRAs, got none");
  if ((await stat(directory).catch(() => undefined))?.isFile() === true) throw new UsageError(notAFolder(directory));
  const known = await layersOfModel(directory);
  const additions = new Map<LoraComponent, Map<string, Addition[]>>();
  for (const { path, scale = 1 } of loras) {
    for (const [component, layers] of matchLora(await openLora(path), known)) {
      const own = additions.get(component) ?? new Map<string, Addition[]>();
      for (const [name, layer] of layers) own.set(name, [...(own.get(name) ?? []), { layer, scale }]);
      additions.set(component, own);
    }
  }
  const replaced = new Map<LoraComponent, ReadonlyMap<string, DeferredTensor>>();
  for (const [component, layers] of additions) {
    const weights = await openWeights(join(directory, component));
    const shapes = known.get(component)!;
    const tensors = [...layers].map(([layer, all]): [string, DeferredTensor] => {
      const name = `${layer}.weight`;
      const shape = shapes.get(layer)!;
      const read = async (): Promise<Tensor> => merged(await weights.read(name), all);
      return [name, { dtype: "float32", shape, read }];
    });
    replaced.set(component, new Map(tensors));
  }
  await saveDiffusersFolder(directory, to, replaced satisfies ReplacedWeights, options);
  return new Map([...replaced].map(([component, tensors]) => [component, tensors.size]));
}

async function merged(weight: Tensor, additions: readonly Addition[]): Promise<Tensor> {
  const sums = Float64Array.from(realValues(weight));
  for (const { layer, scale } of additions) await addUpdate(sums, layer, scale);
  return { dtype: "float32", shape: weight.shape, data: Float32Array.from(sums) };
}
