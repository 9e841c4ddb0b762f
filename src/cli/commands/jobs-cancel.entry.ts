/** @file What `laurel jobs cancel` takes. */

import { declare, type FlagsOf, toggle } from "../declare.js";
import { JOB_IDS, JOBS_OPTIONS } from "./jobs.options.js";

export const JOBS_CANCEL = declare({
  summary: "take back jobs that wait, stop those under way",
  arguments: [JOB_IDS],
  options: { ...JOBS_OPTIONS, all: toggle("all that have not ended") },
  examples: ["laurel jobs cancel draw-5f0c2a", "laurel jobs cancel --all --queue redis://10.0.0.5"],
  notes:
    "For jobs whose run has gone: a run that is there still wants them, and submits them again; end the run instead. A worker stops within seconds. Exit code 4 when one of the jobs had ended.",
});

/** Options of `laurel jobs cancel`. */
export type JobsCancelFlags = FlagsOf<typeof JOBS_CANCEL.options>;
