/** @file What `laurel run` takes. */

import { declare, type FlagsOf, folder, several, textual, toggle } from "../declare.js";
import { DRAWING_SESSION_OPTIONS, RUN_OPTIONS, SUBMIT_OPTIONS } from "../options.js";

/** Changes to a document from the command line. */
export const SET_OPTION = {
  set: several(
    textual("change a variable, or a place such as settings.steps; may be repeated", "key=value", "key=value"),
  ),
};

export const RUN = declare({
  heading: "Pipelines",
  summary: "run a pipeline",
  arguments: [{ name: "file", help: "the pipeline, a YAML file", what: "a pipeline's file", completion: "file" }],
  options: {
    ...SET_OPTION,
    out: folder("folder that holds the runs (default: the pipeline's, or outputs)"),
    dryRun: toggle("show the plan and what it may take, and stop", "n"),
    ...DRAWING_SESSION_OPTIONS,
    ...SUBMIT_OPTIONS,
    ...RUN_OPTIONS,
  },
  examples: [
    "laurel run pipelines/best-of-n.yaml",
    "laurel run pipelines/best-of-n.yaml --set n=64 --set 'prompts=[a red circle, a blue square]'",
    "laurel run pipelines/prompt-sweep.yaml --dry-run",
    "laurel run pipelines/best-of-n.yaml --queue redis://10.0.0.5 --store /mnt/shared/laurel",
    "laurel run pipelines/score-folder.yaml --set folder=outputs --json",
  ],
  notes:
    "A run that was stopped goes on with `laurel resume`. The exit code is 4 when items failed, 6 when an item missed its goal (`until`).",
});

/** Options of `laurel run`. */
export type RunPipelineFlags = FlagsOf<typeof RUN.options>;
