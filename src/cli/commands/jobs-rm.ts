/** @file `laurel jobs rm`: forgets jobs that have ended. */

import type { Action } from "../context.js";
import { doToJobs } from "./jobs.js";
import type { JobsRmFlags } from "./jobs-rm.entry.js";

export const jobsRm: Action<JobsRmFlags> = async (context, ids, flags) =>
  doToJobs(context, ids, flags, {
    command: "jobs rm",
    every: { option: "--failed", given: flags.failed === true, states: ["failed"] },
    done: "forgot",
    not: "there is no such job, or it has not ended",
    act: async (queue, id) => queue.remove(id),
  });
