/** @file `laurel jobs retry`: has failed jobs tried again. */

import type { Action } from "../context.js";
import { doToJobs } from "./jobs.js";
import type { JobsRetryFlags } from "./jobs-retry.entry.js";

export const jobsRetry: Action<JobsRetryFlags> = async (context, ids, flags) =>
  doToJobs(context, ids, flags, {
    command: "jobs retry",
    every: { option: "--all", given: flags.all === true, states: ["failed"] },
    done: "will try again",
    not: "there is no such job, or it has not failed",
    act: async (queue, id) => queue.retry(id),
  });
