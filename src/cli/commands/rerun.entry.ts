/** @file What `laurel rerun` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { DRAWING_SESSION_OPTIONS, OUT_OPTION, RUN_OPTIONS, SUBMIT_OPTIONS } from "../options.js";

export const RERUN = declare({
  heading: "Pictures",
  summary: "do a run again, with the same seeds, settings and models",
  arguments: [
    { name: "run.json", help: "the manifest of a run, or its folder", what: "a run.json", completion: "file" },
  ],
  options: { ...DRAWING_SESSION_OPTIONS, ...SUBMIT_OPTIONS, ...OUT_OPTION, ...RUN_OPTIONS },
  examples: ["laurel rerun outputs/20261122-183301-a-red-circle-9f3a/run.json"],
  notes:
    "The new images are compared with those of the old run, if they are still there; the exit code is 6 when any differs.",
});

/** Options of `laurel rerun`. */
export type RerunFlags = FlagsOf<typeof RERUN.options>;
