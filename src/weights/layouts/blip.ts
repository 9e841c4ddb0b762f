/**
 * @file BLIP's checkpoints under Salesforce's names, as ImageReward keeps them under `blip.` and transformers under names of its own.
 * Source: transformers v4.57.1, convert_blip_original_pytorch_to_hf.py
 */

const BLOCK: ReadonlyMap<string, string> = new Map([
  ["self_attn.qkv", "attn.qkv"],
  ["self_attn.projection", "attn.proj"],
  ["layer_norm1", "norm1"],
  ["layer_norm2", "norm2"],
  ["mlp.fc1", "mlp.fc1"],
  ["mlp.fc2", "mlp.fc2"],
]);

const WHOLE: ReadonlyMap<string, string> = new Map([
  ["vision_model.embeddings.class_embedding", "visual_encoder.cls_token"],
  ["vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"],
  ["vision_model.embeddings.patch_embedding.weight", "visual_encoder.patch_embed.proj.weight"],
  ["vision_model.embeddings.patch_embedding.bias", "visual_encoder.patch_embed.proj.bias"],
  ["vision_model.post_layernorm.weight", "visual_encoder.norm.weight"],
  ["vision_model.post_layernorm.bias", "visual_encoder.norm.bias"],
]);

/** Keys that BLIP's checkpoints hold beyond its two encoders and their projections, in Salesforce's names. */
export const BLIP_IGNORED_KEYS: readonly RegExp[] = [
  /(^|\.)position_ids$/,
  /\.crossattention\./,
  // momentum encoders and queues of the training, the other heads, ImageReward's own
  /^(visual_encoder|text_encoder|vision_proj|text_proj)_m\./,
  /^(text_decoder|itm_head|mlp)\./,
  /^(temp|image_queue|text_queue|queue_ptr|ptr_queue|logit_scale)$/,
];

/** Salesforce's name of a key. For `ResolveOptions.rename`. */
export function renameBlip(key: string): string {
  const bare = key.startsWith("blip.") ? key.slice("blip.".length) : key;
  const whole = WHOLE.get(bare);
  if (whole !== undefined) return whole;
  const [, index, part = "", kind] = /^vision_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(bare) ?? [];
  const name = BLOCK.get(part);
  return name === undefined ? bare : `visual_encoder.blocks.${index}.${name}.${kind}`;
}
