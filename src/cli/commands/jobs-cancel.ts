/** @file `laurel jobs cancel`: takes back jobs that wait, and stops those under way. */

import type { Action } from "../context.js";
import { doToJobs } from "./jobs.js";
import type { JobsCancelFlags } from "./jobs-cancel.entry.js";

export const jobsCancel: Action<JobsCancelFlags> = async (context, ids, flags) =>
  doToJobs(context, ids, flags, {
    command: "jobs cancel",
    every: { option: "--all", given: flags.all === true, states: ["waiting", "delayed", "active"] },
    done: "cancelled",
    not: "there is no such job, or it has ended",
    act: async (queue, id) => queue.cancel(id),
  });
