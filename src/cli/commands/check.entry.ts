/** @file What `laurel check` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";
import { SET_OPTION } from "./run.entry.js";

export const CHECK = declare({
  heading: "Pipelines",
  summary: "check pipelines without running them",
  arguments: [
    { name: "file", help: "pipelines, YAML files", what: "a pipeline's file", variadic: true, completion: "file" },
  ],
  options: { ...SET_OPTION, ...OUTPUT_OPTIONS },
  examples: ["laurel check pipelines/*.yaml", "laurel check mine.yaml --set n=8 --json"],
  notes:
    "Every fault is printed with its place, file:line:column. Prompts from files are read; no model is opened and no server is asked.",
});

/** Options of `laurel check`. */
export type CheckFlags = FlagsOf<typeof CHECK.options>;
