/** @file What `laurel resume` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { DRAWING_SESSION_OPTIONS, RUN_OPTIONS, SUBMIT_OPTIONS } from "../options.js";

export const RESUME = declare({
  heading: "Pictures",
  summary: "finish a run that was cancelled or killed",
  arguments: [{ name: "run", help: "the run's folder, or its run.json", what: "a run", completion: "file" }],
  options: { ...DRAWING_SESSION_OPTIONS, ...SUBMIT_OPTIONS, ...RUN_OPTIONS },
  examples: ["laurel resume outputs/20261122-183301-a-red-circle-9f3a"],
  notes:
    "What is there is kept; the result is the one an undisturbed run gives. The run of a pipeline may go on with `--queue`, or without.",
});

/** Options of `laurel resume`. */
export type ResumeFlags = FlagsOf<typeof RESUME.options>;
/** Options of every command that works on a run. */
export type RunFlags = Omit<ResumeFlags, keyof typeof SUBMIT_OPTIONS>;
