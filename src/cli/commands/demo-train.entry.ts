/** @file What `laurel demo train` takes. */

import { join } from "node:path";
import { DEMO_STAGES } from "../../training/demo-stages.js";
import { decimal, declare, file, type FlagsOf, folder, otherwise, toggle, whole } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const DEMO_TRAIN = declare({
  summary: "train a network of the demo world",
  arguments: [
    { name: "stage", help: `${DEMO_STAGES.join(", ")}, in this order`, what: "a stage", completion: DEMO_STAGES },
  ],
  options: {
    out: otherwise(join("outputs", "demo-training"), folder("folder for the models, checkpoints and logs")),
    from: folder("go on from the weights of these demo models (default: fresh weights, shipped architecture)"),
    config: file("settings, YAML or JSON (default: those that ship inside)"),
    minutes: decimal("train for about this long instead of the settings' steps", 0.1, 100_000, "n"),
    steps: whole("train this many steps instead", 1, 1_000_000_000),
    resume: toggle("go on from the checkpoint in --out"),
    threads: whole("threads (default: the physical cores)", 1, 1024),
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel demo train autoencoder --minutes 60",
    "laurel demo train denoiser --resume",
    "laurel demo train reward --from models/demo --minutes 10",
  ],
  notes: "Ctrl-C stops after the current step and leaves a checkpoint for --resume.",
});

/** Options of `laurel demo train`. */
export type DemoTrainFlags = FlagsOf<typeof DEMO_TRAIN.options>;
