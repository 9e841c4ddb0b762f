/** @file What `laurel runs show` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUT_OPTION, OUTPUT_OPTIONS } from "../options.js";

export const RUNS_SHOW = declare({
  summary: "show a run: what was asked for, with which models, and what came of it",
  arguments: [{ name: "run", help: "the run's folder, or its name in --out", what: "a run", completion: "directory" }],
  options: { ...OUT_OPTION, ...OUTPUT_OPTIONS },
  examples: ["laurel runs show outputs/20261122-183301-a-red-circle-9f3a", "laurel runs show RUN --json"],
});

/** Options of `laurel runs show`. */
export type RunsShowFlags = FlagsOf<typeof RUNS_SHOW.options>;
