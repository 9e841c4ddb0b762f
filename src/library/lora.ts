/** @file LoRA files: looked into, written with other names, made part of a model. */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { layersOfModel, mergeLoras } from "../diffusion/merge-loras.js";
import type { LoraRequest } from "../diffusion/request.js";
import { UsageError } from "../errors.js";
import type { DType } from "../tensor/dtype.js";
import { matchLora } from "../weights/lora/match.js";
import { openLora } from "../weights/lora/open.js";
import { updateNorm } from "../weights/lora/product.js";
import { type LoraUpdate, saveLora } from "../weights/lora/save.js";
import type { LoraComponent, LoraNaming } from "../weights/lora/types.js";
import { readEntry } from "../weights/source.js";
import type { WeightEntry } from "../weights/types.js";
import type { DeferredTensor } from "../weights/safetensors.js";
import { resolveModel } from "./named-models.js";

/** The update of one layer, as {@link inspectLora} tells it. */
export interface LoraLayerFacts {
  readonly component: LoraComponent;
  /** The layer's path, with underscores where the file has them for dots. */
  readonly layer: string;
  readonly rank: number;
  readonly alpha: number;
  /** What the product of the matrices is multiplied with: alpha / rank, or where the file asks for it alpha / sqrt(rank). */
  readonly scale: number;
  readonly dtype: DType;
  /** Of the smaller matrices: [rank, in...] and [out, rank...]. */
  readonly down: readonly number[];
  readonly up: readonly number[];
  /** Frobenius norm of scale * up down: how much the weight changes. */
  readonly norm: number;
}

/** What {@link inspectLora} tells. */
export interface LoraFacts {
  /** Absolute. */
  readonly path: string;
  readonly bytes: number;
  readonly naming: LoraNaming;
  /** Numbers in all its matrices. */
  readonly parameters: number;
  readonly layers: readonly LoraLayerFacts[];
  readonly metadata: Readonly<Record<string, string>>;
}

/** Looks into a LoRA file. @throws ModelError when it is none that Laurel reads */
export async function inspectLora(path: string): Promise<LoraFacts> {
  const lora = await openLora(path);
  const layers: LoraLayerFacts[] = [];
  for (const [component, own] of lora.components) {
    for (const [layer, update] of own) {
      const { rank, alpha, scale, down, up } = update;
      const facts = { component, layer, rank, alpha, scale, dtype: down.dtype, down: down.shape, up: up.shape };
      layers.push({ ...facts, norm: await updateNorm(update) });
    }
  }
  const count = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
  return {
    path: lora.path,
    bytes: (await stat(lora.path)).size,
    naming: lora.naming,
    parameters: layers.reduce((sum, { down, up }) => sum + count(down) + count(up), 0),
    layers,
    metadata: Object.fromEntries(lora.metadata),
  };
}

/** What {@link convertLora} needs. */
export interface ConvertLoraOptions {
  readonly to: "diffusers" | "kohya";
  /** Diffusers folder that the LoRA is for: needed from kohya's names to others, as only its layers tell which underscores are dots. */
  readonly model?: string | undefined;
}

/**
 * Writes a LoRA with the names of another family of programs; its numbers stay as they are.
 * @returns the layers written
 * @throws UsageError when a model is needed, ModelError when the file is no LoRA or does not fit the model
 */
export async function convertLora(path: string, out: string, { to, model }: ConvertLoraOptions): Promise<number> {
  const lora = await openLora(path);
  if (resolve(out) === lora.path) throw new UsageError(`${lora.path}: expected another file to write to`);
  if (lora.naming === "kohya" && to !== "kohya" && model === undefined) {
    throw new UsageError(
      `${lora.path}: expected the model it is for (--model), whose layers tell which underscores of its names are dots, got none`,
    );
  }
  const named = model === undefined ? lora.components : matchLora(lora, await layersOfModel(model));
  const updates = new Map(
    [...named].map(([component, layers]) => [
      component,
      new Map(
        [...layers].map(([layer, { rank, scale, down, up }]): [string, LoraUpdate] => [
          layer,
          // whatever its alpha was divided by, readers of these names divide by the rank
          { rank, alpha: scale * rank, down: deferred(down), up: deferred(up) },
        ]),
      ),
    ]),
  );
  await saveLora(out, updates, { naming: to, metadata: ownMetadata(lora.metadata) });
  return [...lora.components.values()].reduce((sum, { size }) => sum + size, 0);
}

function deferred(entry: WeightEntry): DeferredTensor {
  return { dtype: entry.dtype, shape: entry.shape, read: () => readEntry(entry) };
}

/** What the other naming says in its own way is left out. */
function ownMetadata(metadata: ReadonlyMap<string, string>): Map<string, string> {
  const replaced = /^(format|lora_adapter_metadata|ss_network_(module|dim|alpha)|sshs_.*)$/;
  return new Map([...metadata].filter(([key]) => !replaced.test(key)));
}

/**
 * Writes a model with LoRAs made part of its weights: a diffusers folder that draws what `model` draws with them, for programs that read no LoRAs.
 * @returns the number of changed weights of each network
 * @throws UsageError when `out` exists, ModelError for a LoRA that does not fit
 */
export async function mergeLora(
  model: string,
  loras: readonly LoraRequest[],
  out: string,
): Promise<ReadonlyMap<LoraComponent, number>> {
  const there = await stat(out).catch(() => undefined);
  if (there !== undefined) throw new UsageError(`${resolve(out)}: expected a new folder, got one that exists`);
  return mergeLoras(await resolveModel(model), loras, out);
}
