/**
 * @file OpenCLIP's checkpoints under transformers' names: joint projections of attention are cut into queries, keys and values where they lie.
 * Source: transformers v4.57.1, convert_clip_original_pytorch_to_hf.py; open_clip v3.3.0, src/open_clip/transformer.py
 */

import { weightSource } from "../source.js";
import type { WeightEntry, WeightSource } from "../types.js";

/**
 * The two projections keep names without `.weight`: OpenCLIP multiplies by them from the right, `[width, projection]`, where transformers' linear
 * layers are `[projection, width]`.
 */
export const OPEN_CLIP_PROJECTIONS = { text: "text_projection", image: "visual_projection" } as const;

const WHOLE: ReadonlyMap<string, string> = new Map([
  ["logit_scale", "logit_scale"],
  ["token_embedding.weight", "text_model.embeddings.token_embedding.weight"],
  ["positional_embedding", "text_model.embeddings.position_embedding.weight"],
  ["ln_final.weight", "text_model.final_layer_norm.weight"],
  ["ln_final.bias", "text_model.final_layer_norm.bias"],
  ["text_projection", OPEN_CLIP_PROJECTIONS.text],
  ["visual.class_embedding", "vision_model.embeddings.class_embedding"],
  ["visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"],
  ["visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"],
  ["visual.ln_pre.weight", "vision_model.pre_layrnorm.weight"],
  ["visual.ln_pre.bias", "vision_model.pre_layrnorm.bias"],
  ["visual.ln_post.weight", "vision_model.post_layernorm.weight"],
  ["visual.ln_post.bias", "vision_model.post_layernorm.bias"],
  ["visual.proj", OPEN_CLIP_PROJECTIONS.image],
]);

/** Parts of a block, without `.weight` and `.bias`. */
const BLOCK: ReadonlyMap<string, string> = new Map([
  ["ln_1", "layer_norm1"],
  ["ln_2", "layer_norm2"],
  ["attn.out_proj", "self_attn.out_proj"],
  ["mlp.c_fc", "mlp.fc1"],
  ["mlp.c_proj", "mlp.fc2"],
]);

const BLOCK_KEY = /^(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$/;

/** Whether a checkpoint's keys are OpenCLIP's. */
export function isOpenClip(keys: { has(key: string): boolean }): boolean {
  return keys.has("visual.conv1.weight") && keys.has("visual.transformer.resblocks.0.attn.in_proj_weight");
}

/** The names that a key's tensor has in transformers: one, three for a joint projection, none for a key that is none of OpenCLIP's. */
export function openClipNames(key: string): readonly string[] {
  const whole = WHOLE.get(key);
  if (whole !== undefined) return [whole];
  const [, visual, index, part = "", kind] = BLOCK_KEY.exec(key) ?? [];
  const layer = `${visual === undefined ? "text_model" : "vision_model"}.encoder.layers.${index}`;
  if (part === "attn.in_proj") return ["q", "k", "v"].map((name) => `${layer}.self_attn.${name}_proj.${kind}`);
  const name = BLOCK.get(part);
  return name === undefined ? [] : [`${layer}.${name}.${kind}`];
}

/** The same tensors, in place, under transformers' names; keys that are none of OpenCLIP's keep theirs. */
export function openClipSource(source: WeightSource): WeightSource {
  const entries = new Map<string, WeightEntry>();
  for (const [key, entry] of source.entries) {
    const names = openClipNames(key);
    if (names.length === 0) entries.set(key, entry);
    for (const [part, name] of names.entries()) entries.set(name, rowsOf(entry, part, names.length));
  }
  const unusable = new Map<string, string>();
  for (const [key, reason] of source.unusable) {
    for (const name of openClipNames(key)) unusable.set(name, reason);
    if (openClipNames(key).length === 0) unusable.set(key, reason);
  }
  const { description, metadata } = source;
  return weightSource({ description, entries, unusable, metadata });
}

/** Part `index` of `count` equal ones along the first axis: neighbours in the file. One that cannot be cut stays whole, and will not fit. */
function rowsOf(entry: WeightEntry, index: number, count: number): WeightEntry {
  const [rows = 0, ...rest] = entry.shape;
  if (count === 1 || rows % count !== 0) return entry;
  const length = entry.length / count;
  return { ...entry, shape: [rows / count, ...rest], offset: entry.offset + index * length, length };
}
