/** @file What `laurel demo finetune` takes. */

import { FINETUNE_METHODS } from "../../training/finetune/methods.js";
import { choice, declare, type FlagsOf, folder, otherwise, several, whole } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";
import { SET_OPTION } from "./run.entry.js";

export const DEMO_FINETUNE = declare({
  summary: "train the demo model by reward in every way, with guards and without, and measure it by the oracle",
  arguments: [],
  options: {
    method: several(choice("refl, draft, dpo or sft; may be given again (default: all)", "name", FINETUNE_METHODS)),
    prompts: otherwise(200, whole("held-out prompts", 1, 1000)),
    images: otherwise(4, whole("pictures of each", 2, 64)),
    bestOf: otherwise(16, whole("pictures to choose from, on the base and on the tuned model", 2, 64)),
    bestOfMethod: choice("the tuned model that best-of-n is measured on (default: refl)", "name", FINETUNE_METHODS),
    rounds: otherwise(
      1,
      whole("trainings with guards, each of the model that the one before left and on its pictures", 1, 10),
    ),
    ...SET_OPTION,
    threads: whole("threads (default: the physical cores)", 1, 1024),
    keep: folder("folder of the trainings and the measurements (default: outputs/demo-finetuning)"),
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel demo finetune",
    "laurel demo finetune --method dpo --rounds 3",
    "laurel demo finetune --method refl --prompts 50 --json",
  ],
});

/** Options of `laurel demo finetune`. */
export type DemoFinetuneFlags = FlagsOf<typeof DEMO_FINETUNE.options>;
