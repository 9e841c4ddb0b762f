/** @file What `laurel jobs retry` takes. */

import { declare, type FlagsOf, toggle } from "../declare.js";
import { JOB_IDS, JOBS_OPTIONS } from "./jobs.options.js";

export const JOBS_RETRY = declare({
  summary: "have failed jobs tried again",
  arguments: [JOB_IDS],
  options: { ...JOBS_OPTIONS, all: toggle("all that failed") },
  examples: ["laurel jobs retry draw-5f0c2a", "laurel jobs retry --all --queue redis://10.0.0.5"],
  notes:
    "A job that failed for good stays until it is tried again or removed. A run that submits it anew has it tried again, too. Exit code 4 when one of the jobs had not failed.",
});

/** Options of `laurel jobs retry`. */
export type JobsRetryFlags = FlagsOf<typeof JOBS_RETRY.options>;
