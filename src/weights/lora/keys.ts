/**
 * @file The names of a LoRA's tensors, as one table of patterns. Sources: diffusers v0.38.0 utils/state_dict_utils.py and
 * loaders/lora_conversion_utils.py; PEFT 0.21.2 utils/save_and_load.py; kohya-ss/sd-scripts networks/lora.py.
 */

import type { LoraComponent, LoraNaming } from "./types.js";

/** What one tensor is. */
export interface LoraKey {
  readonly naming: LoraNaming;
  readonly component: LoraComponent;
  /** The layer's path; its dots are underscores where the naming is kohya's. */
  readonly layer: string;
  readonly part: "down" | "up" | "alpha";
}

/** Techniques other than LoRA, or more than it, by what their tensors' names end in. */
const OTHER_TECHNIQUES: readonly (readonly [pattern: RegExp, name: string])[] = [
  [/\.(lora_magnitude_vector(\.\w+)?(\.weight)?|dora_scale)$/, "DoRA"],
  [/\.lora_mid\.weight$/, "LoCon with a middle matrix"],
  [/\.hada_[wt]\d(_[ab])?$/, "LoHa"],
  [/\.lokr_[wt]\d(_[ab])?$/, "LoKr"],
  [/\.(oft_blocks|oft_diag|oft_R\.\w+\.weight|oft_r(\.weight)?)$/, "OFT"],
  [/\.(diff|diff_b|w_norm|b_norm)$/, "a full difference of weights"],
  [/\.lora_B(\.\w+)?\.bias$/, "a LoRA with biases"],
  [/\.lora_embedding_[AB]$/, "a LoRA of an embedding"],
];
/** Names that only a Stable Diffusion XL has, and why they are not read. */
const XL: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^(text_encoder_2\.|lora_te2_)/, "for Stable Diffusion XL's second text encoder, which cannot be changed"],
  [
    /^lora_unet_(input|output|middle)_blocks?_/,
    "for Stable Diffusion XL, in its denoiser's original names (diffusers' are read)",
  ],
];

const KOHYA = /^lora_(unet|te|te1)_(.+?)\.(?:lora_(down|up)\.weight|(alpha))$/;
const PEFT = /^(.+)\.lora_([AB])(?:\.\w+)?\.weight$/;
const OLD = /^(.+?)\.(?:lora|lora_linear_layer)\.(down|up)\.weight$/;
/** diffusers' first attention processors. */
const PROCESSOR = /^(.+?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight$/;
const ALPHA = /^(.+)\.alpha$/;

/** What the processors' four layers are called today. */
const PROCESSOR_LAYERS: Readonly<Record<LoraComponent, Readonly<Record<string, string>>>> = {
  unet: { q: "to_q", k: "to_k", v: "to_v", out: "to_out.0" },
  text_encoder: { q: "q_proj", k: "k_proj", v: "v_proj", out: "out_proj" },
};

/** What a tensor of a LoRA is by its name, or a word on what it is instead: `DoRA`. */
export function parseLoraKey(key: string): LoraKey | string {
  const other = OTHER_TECHNIQUES.find(([pattern]) => pattern.test(key));
  if (other !== undefined) return other[1];
  const xl = XL.find(([pattern]) => pattern.test(key));
  if (xl !== undefined) return xl[1];
  const kohya = KOHYA.exec(key);
  if (kohya !== null) {
    const [, network, layer = "", part, alpha] = kohya;
    const component = network === "unet" ? "unet" : "text_encoder";
    return { naming: "kohya", component, layer, part: (part ?? alpha) as LoraKey["part"] };
  }
  const peft = PEFT.exec(key);
  if (peft !== null) {
    const naming = key.startsWith(PEFT_ROOT) ? "peft" : "diffusers";
    return { naming, ...place(peft[1]!), part: peft[2] === "A" ? "down" : "up" };
  }
  const processor = PROCESSOR.exec(key);
  if (processor !== null) {
    const { component, layer } = place(processor[1]!);
    const own = PROCESSOR_LAYERS[component][processor[2]!]!;
    return { naming: "diffusers-old", component, layer: `${layer}.${own}`, part: processor[3] as "down" | "up" };
  }
  const old = OLD.exec(key);
  if (old !== null) return { naming: "diffusers-old", ...place(old[1]!), part: old[2] as "down" | "up" };
  const alpha = ALPHA.exec(key);
  if (alpha !== null) return { naming: "diffusers-old", ...place(alpha[1]!), part: "alpha" };
  return "no part of a LoRA";
}

/** Before every name of PEFT's own files. */
const PEFT_ROOT = "base_model.model.";

/** A path's network and what follows it; without a network's name before it, a text encoder's is told by its root `text_model`. */
function place(path: string): Pick<LoraKey, "component" | "layer"> {
  const bare = path.startsWith(PEFT_ROOT) ? path.slice(PEFT_ROOT.length) : path;
  for (const component of ["unet", "text_encoder"] as const) {
    if (bare.startsWith(`${component}.`))
      return { component, layer: withoutProcessor(bare.slice(component.length + 1)) };
  }
  return { component: bare.startsWith("text_model.") ? "text_encoder" : "unet", layer: withoutProcessor(bare) };
}

function withoutProcessor(layer: string): string {
  return layer.replace(".processor.", ".");
}
