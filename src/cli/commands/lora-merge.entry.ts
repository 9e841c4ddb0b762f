/** @file What `laurel lora merge` takes. */

import { declare, type FlagsOf, folder } from "../declare.js";
import { LORA_OPTIONS } from "../options.js";

export const LORA_MERGE = declare({
  summary: "make LoRAs part of a model's weights",
  arguments: [],
  options: {
    model: folder("Stable Diffusion in diffusers layout (default: the demo model)"),
    lora: LORA_OPTIONS.lora,
    out: folder("folder to write: a diffusers folder that must not exist yet"),
  },
  examples: [
    "laurel lora merge --model ~/models/stable-diffusion-v1-5 --lora style.safetensors:0.7 --lora tuned.safetensors --out merged",
  ],
  notes:
    "The folder draws what the model draws with the LoRAs, for programs that read none. Weights keep the precision they have; a component that is changed has one safetensors file.",
});

/** Options of `laurel lora merge`. */
export type LoraMergeFlags = FlagsOf<typeof LORA_MERGE.options>;
