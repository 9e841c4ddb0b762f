/** @file Writing LoRA files, named as diffusers and PEFT or as kohya's trainers do. */

import { UsageError } from "../../errors.js";
import { float32 } from "../../tensor/tensor.js";
import { saveSafetensors, type TensorSource } from "../safetensors.js";
import { kohyaName } from "./match.js";
import { ADAPTER_METADATA } from "./open.js";
import type { LoraComponent } from "./types.js";

/** The update of one layer to be written: its weight becomes W + alpha / rank * up down. */
export interface LoraUpdate {
  /** [rank, in], for a convolution [rank, in, k, k]. */
  readonly down: TensorSource;
  /** [out, rank], for a convolution [out, rank, 1, 1]. */
  readonly up: TensorSource;
  readonly rank: number;
  readonly alpha: number;
}

/** Updates by network, then by the layer's path: `mid_block.attentions.0.proj_in`. */
export type LoraUpdates = ReadonlyMap<LoraComponent, ReadonlyMap<string, LoraUpdate>>;

/** How {@link saveLora} writes. */
export interface SaveLoraOptions {
  /** @default "diffusers" */
  readonly naming?: "diffusers" | "kohya" | undefined;
  /** Strings to be kept beside the tensors. @default none */
  readonly metadata?: ReadonlyMap<string, string> | undefined;
  /** Syncs the file to the disk. @default false */
  readonly durable?: boolean | undefined;
}

/**
 * Writes a LoRA as safetensors, atomically.
 * @throws UsageError when there is nothing to write, or a matrix does not have its rank
 */
export async function saveLora(path: string, updates: LoraUpdates, options: SaveLoraOptions = {}): Promise<void> {
  const { naming = "diffusers", metadata = new Map<string, string>(), durable = false } = options;
  const all = [...updates].flatMap(([component, layers]) =>
    [...layers].map(([layer, update]) => ({ component, layer, ...update })),
  );
  if (all.length === 0) throw new UsageError(`${path}: expected updates to write, got none`);
  for (const { component, layer, down, up, rank } of all) {
    if (down.shape[0] === rank && up.shape[1] === rank) continue;
    throw new UsageError(
      `${path}: ${component}.${layer}: expected matrices of rank ${rank}, got [${down.shape.join(",")}] and [${up.shape.join(",")}]`,
    );
  }
  const tensors = new Map<string, TensorSource>();
  for (const { component, layer, down, up, alpha } of all) {
    if (naming === "diffusers") {
      tensors.set(`${component}.${layer}.lora_A.weight`, down);
      tensors.set(`${component}.${layer}.lora_B.weight`, up);
    } else {
      const name = `lora_${component === "unet" ? "unet" : "te"}_${kohyaName(layer)}`;
      tensors.set(`${name}.lora_down.weight`, down);
      tensors.set(`${name}.lora_up.weight`, up);
      tensors.set(`${name}.alpha`, float32([], [alpha]));
    }
  }
  const own = naming === "diffusers" ? diffusersMetadata(updates) : kohyaMetadata(all);
  await saveSafetensors(path, tensors, new Map([...metadata, ...Object.entries(own)]), { durable });
}

/** PEFT's LoraConfig of each network, as diffusers keeps it: what differs from the first layer's is in patterns. */
function diffusersMetadata(updates: LoraUpdates): Record<string, string> {
  const fields: Record<string, unknown> = {};
  for (const [component, layers] of [...updates].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [first] = layers.values();
    if (first === undefined) continue;
    const differing = (name: "rank" | "alpha"): Record<string, number> =>
      Object.fromEntries(
        [...layers].flatMap(([layer, update]) => (update[name] === first[name] ? [] : [[layer, update[name]]])),
      );
    fields[`${component}.r`] = first.rank;
    fields[`${component}.lora_alpha`] = first.alpha;
    fields[`${component}.rank_pattern`] = differing("rank");
    fields[`${component}.alpha_pattern`] = differing("alpha");
    fields[`${component}.target_modules`] = [...layers.keys()].sort();
  }
  return { format: "pt", [ADAPTER_METADATA]: JSON.stringify(fields) };
}

/** What kohya's trainers say of the whole: one rank and alpha where all layers have the same. */
function kohyaMetadata(all: readonly { readonly rank: number; readonly alpha: number }[]): Record<string, string> {
  const only = (values: readonly number[]): string => (new Set(values).size === 1 ? String(values[0]) : "Dynamic");
  return {
    ss_network_module: "networks.lora",
    ss_network_dim: only(all.map(({ rank }) => rank)),
    ss_network_alpha: only(all.map(({ alpha }) => alpha)),
  };
}
