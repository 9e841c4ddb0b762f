/** @file What `laurel runs list` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const RUNS_LIST = declare({
  summary: "list the runs in a folder of runs",
  arguments: [
    {
      name: "dir",
      help: "the folder of runs (default: outputs)",
      what: "a folder",
      optional: true,
      completion: "directory",
    },
  ],
  options: { ...OUTPUT_OPTIONS },
  examples: ["laurel runs list", "laurel runs list outputs --json | jq '.runs[] | select(.status != \"complete\")'"],
  notes:
    "The oldest first. `interrupted` is a run that was killed, `paused` one that waits for its backend or its disk: `laurel resume` goes on with both. `broken` is a folder whose run cannot be read.",
});

/** Options of `laurel runs list`. */
export type RunsListFlags = FlagsOf<typeof RUNS_LIST.options>;
