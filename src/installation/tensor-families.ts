/** @file What a file of weights is for, told by the names of its tensors. */

/** Marks of what Laurel does not open yet, the more particular first. Source: the checkpoints' own key names. */
const FAMILIES: readonly (readonly [family: string, mark: RegExp])[] = [
  ["LoRA", /(^lora_(unet|te\d?)_|\.lora_(down|up|A|B)\.)/],
  ["ControlNet", /^(control_model\.|controlnet_cond_embedding\.)/],
  ["textual inversion", /^(emb_params|string_to_param|clip_[lg]$)/],
  ["Stable Diffusion XL, single file", /^conditioner\.embedders\./],
  ["Stable Diffusion 3, single file", /^model\.diffusion_model\.joint_blocks\./],
  ["Flux, single file", /^(model\.diffusion_model\.)?double_blocks\./],
  ["Stable Diffusion, single file", /^model\.diffusion_model\.input_blocks\./],
  ["autoencoder", /^(first_stage_model\.)?decoder\.(conv_in|mid)/],
  ["ImageReward", /^blip\.visual_encoder\./],
  ["CLIP (OpenAI's format)", /^visual\.(transformer\.resblocks|conv1|class_embedding)/],
];

/** The first family one of whose marks is among the names; `unknown` when there is none. */
export function familyOfTensors(names: Iterable<string>): string {
  const all = [...names];
  return FAMILIES.find(([, mark]) => all.some((name) => mark.test(name)))?.[0] ?? "unknown";
}
