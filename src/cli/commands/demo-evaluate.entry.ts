/** @file What `laurel demo evaluate` takes. */

import { declare, type FlagsOf, folder, otherwise, toggle, whole } from "../declare.js";
import { DEVICE_OPTION, OUTPUT_OPTIONS, SAMPLING_OPTIONS } from "../options.js";

export const DEMO_EVALUATE = declare({
  summary: "measure the demo models on held-out prompts against the truth",
  arguments: [],
  options: {
    models: folder("folder with the three demo models (default: those that ship inside)"),
    prompts: otherwise(200, whole("held-out prompts", 1, 10_000)),
    images: otherwise(16, whole("pictures per prompt", 1, 1000)),
    renders: otherwise(1000, whole("renderings for the autoencoder and the oracle", 1, 100_000)),
    ...SAMPLING_OPTIONS,
    sweep: toggle("compare sampling settings instead, one JSON line each"),
    ...DEVICE_OPTION,
    ...OUTPUT_OPTIONS,
  },
  examples: ["laurel demo evaluate", "laurel demo evaluate --prompts 20 --images 4 --json"],
});

/** Options of `laurel demo evaluate`. */
export type DemoEvaluateFlags = FlagsOf<typeof DEMO_EVALUATE.options>;
