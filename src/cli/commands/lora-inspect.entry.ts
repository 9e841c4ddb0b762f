/** @file What `laurel lora inspect` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const LORA_INSPECT = declare({
  summary: "show what a LoRA file holds",
  arguments: [{ name: "file", help: "the LoRA", what: "a LoRA file", completion: "file" }],
  options: { json: OUTPUT_OPTIONS.json },
  examples: ["laurel lora inspect tuned.safetensors", "laurel lora inspect tuned.safetensors --json | jq .metadata"],
  notes:
    "Naming, networks, layers with their ranks and alphas, metadata, and how much each layer changes: the Frobenius norm of its update, largest first. " +
    "A norm of 0 is a layer that was never trained, one that is not a number a file that was ruined.",
});

/** Options of `laurel lora inspect`. */
export type LoraInspectFlags = FlagsOf<typeof LORA_INSPECT.options>;
