/** @file What a LoRA is: low-rank updates of a model's layers (Hu et al. 2021, https://arxiv.org/abs/2106.09685). */

import type { WeightEntry } from "../types.js";

/** The networks of a Stable Diffusion that a LoRA can change, by the names of their folders. */
export const LORA_COMPONENTS = ["unet", "text_encoder"] as const;
/** A network that a LoRA can change. */
export type LoraComponent = (typeof LORA_COMPONENTS)[number];

/** How a file names its tensors. */
export type LoraNaming = "diffusers" | "diffusers-old" | "peft" | "kohya";

/** The update of one layer: its weight becomes W + scale * up down. */
export interface LoraLayer {
  /** [rank, in], for a convolution [rank, in, k, k]. */
  readonly down: WeightEntry;
  /** [out, rank], for a convolution [out, rank, 1, 1]. */
  readonly up: WeightEntry;
  readonly rank: number;
  readonly alpha: number;
  /** alpha / rank, or where the file asks for it alpha / sqrt(rank). */
  readonly scale: number;
}

/** Layers by name. */
export type LoraLayers = ReadonlyMap<string, LoraLayer>;

/** An open LoRA file; its matrices stay where they are. */
export interface LoraFile {
  /** Absolute. */
  readonly path: string;
  readonly naming: LoraNaming;
  /** By network, then by the layer's path, whose dots are underscores where the naming is kohya's. Networks without layers are left out. */
  readonly components: ReadonlyMap<LoraComponent, LoraLayers>;
  /** Strings stored beside the tensors. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** Layers of a model by path (`mid_block.attentions.0.proj_in`), each with the shape of its weight: [out, in] or [out, in, k, k]. */
export type AdaptableLayers = ReadonlyMap<LoraComponent, ReadonlyMap<string, readonly number[]>>;
