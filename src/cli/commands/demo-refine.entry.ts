/** @file What `laurel demo refine` takes. */

import { choice, declare, file, type FlagsOf, otherwise, whole } from "../declare.js";
import { DEVICE_OPTION, OUTPUT_OPTIONS } from "../options.js";

export const DEMO_REFINE = declare({
  summary: "measure refinement of free phrasings against best-of-n with as many candidates",
  arguments: [],
  options: {
    phrasings: otherwise(100, whole("free phrasings of held-out descriptions", 1, 1000)),
    budget: otherwise(32, whole("candidates of each side", 1, 1000)),
    split: choice("sentence templates: train or held-out (default: held-out)", "name", ["train", "held-out"]),
    vocabulary: file("words for evolve (default: shapes)", "name", "a vocabulary's name or file"),
    keep: file("file that holds what was measured; a measurement that was stopped goes on with it"),
    ...DEVICE_OPTION,
    ...OUTPUT_OPTIONS,
  },
  examples: ["laurel demo refine --keep refinement.jsonl", "laurel demo refine --phrasings 20 --split train --json"],
});

/** Options of `laurel demo refine`. */
export type DemoRefineFlags = FlagsOf<typeof DEMO_REFINE.options>;
