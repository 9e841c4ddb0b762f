/** @file What `laurel jobs rm` takes. */

import { declare, type FlagsOf, toggle } from "../declare.js";
import { JOB_IDS, JOBS_OPTIONS } from "./jobs.options.js";

export const JOBS_RM = declare({
  summary: "forget jobs that have ended",
  arguments: [JOB_IDS],
  options: { ...JOBS_OPTIONS, failed: toggle("all that failed") },
  examples: ["laurel jobs rm draw-5f0c2a", "laurel jobs rm --failed --queue redis://10.0.0.5"],
  notes: "What they drew stays where it is stored. Exit code 4 when one of the jobs was not there or has not ended.",
});

/** Options of `laurel jobs rm`. */
export type JobsRmFlags = FlagsOf<typeof JOBS_RM.options>;
