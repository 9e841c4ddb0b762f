/** @file What `laurel lora convert` takes. */

import { choice, declare, file, type FlagsOf, folder } from "../declare.js";

export const LORA_CONVERT = declare({
  summary: "write a LoRA with the names that other programs read",
  arguments: [{ name: "file", help: "the LoRA", what: "a LoRA file", completion: "file" }],
  options: {
    to: choice("kohya (AUTOMATIC1111, Forge, ComfyUI) or diffusers (diffusers, PEFT)", "naming", [
      "kohya",
      "diffusers",
    ]),
    out: file("file to write"),
    model: folder("Stable Diffusion that it is for: needed from kohya to diffusers, and checked where it is given"),
  },
  examples: [
    "laurel lora convert pytorch_lora_weights.safetensors --to kohya --out tuned.safetensors",
    "laurel lora convert style.safetensors --to diffusers --model ~/models/stable-diffusion-v1-5 --out style-diffusers.safetensors",
  ],
  notes:
    "The matrices are copied as they are, alpha included. Names of kohya's have underscores for dots; only the model's layers tell which are which.",
});

/** Options of `laurel lora convert`. */
export type LoraConvertFlags = FlagsOf<typeof LORA_CONVERT.options>;
