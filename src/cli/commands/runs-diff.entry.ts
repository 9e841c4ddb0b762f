/** @file What `laurel runs diff` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUT_OPTION, OUTPUT_OPTIONS } from "../options.js";

const RUN = { help: "the run's folder, or its name in --out", what: "a run", completion: "directory" } as const;

export const RUNS_DIFF = declare({
  summary: "show in which settings, images and scores two runs differ",
  arguments: [
    { name: "before", ...RUN },
    { name: "after", ...RUN },
  ],
  options: { ...OUT_OPTION, ...OUTPUT_OPTIONS },
  examples: ["laurel runs diff outputs/20261122-183301-a-red-circle-9f3a outputs/20261122-190500-a-red-circle-1c07"],
  notes: "Candidates are compared by their index, those of pipelines by item and place.",
});

/** Options of `laurel runs diff`. */
export type RunsDiffFlags = FlagsOf<typeof RUNS_DIFF.options>;
