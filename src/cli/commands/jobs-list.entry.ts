/** @file What `laurel jobs list` takes. */

import { choice, declare, type FlagsOf, otherwise, several, textual, toggle, whole } from "../declare.js";
import { JOBS_OPTIONS } from "./jobs.options.js";

export const JOBS_LIST = declare({
  summary: "list the jobs of a queue",
  arguments: [],
  options: {
    ...JOBS_OPTIONS,
    state: several(
      choice("jobs in this state alone; may be given again", "state", [
        "waiting",
        "delayed",
        "active",
        "completed",
        "failed",
      ]),
    ),
    capability: textual("jobs of this capability alone", "name", "a capability"),
    limit: otherwise(50, whole("at most so many, the newest first (default: 50)", 1, 100_000)),
    json: toggle("print one JSON object"),
    quiet: toggle("no line for each capability", "q"),
  },
  examples: [
    "laurel jobs list --queue redis://10.0.0.5",
    "laurel jobs list --state failed",
    "laurel jobs list --json | jq '.queues[] | {name, workers}'",
  ],
  notes:
    "What waits, is under way and has ended, with why it failed. On stderr a line for each capability: how many jobs there are in each state, and which workers take them.",
});

/** Options of `laurel jobs list`. */
export type JobsListFlags = FlagsOf<typeof JOBS_LIST.options>;
