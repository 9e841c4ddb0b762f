/** @file What `laurel init` takes. */

import { declare, type FlagsOf, file, toggle } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

/** The pipelines that ship inside, with what each is for. */
export const STARTERS = {
  "best-of-n": "draw n candidates for every prompt, keep the best",
  threshold: "draw until enough pictures pass a score",
  search: "spend the compute of n candidates in a search, by previews or by gradients",
  "prompt-sweep": "compare settings and wordings on the same seeds",
  "prompt-refinement": "search for a wording that the model draws better",
  "score-folder": "score pictures that exist already",
  refl: "fine-tune the model by reward, then draw with and without what came of it",
  "export-reward": "write a differentiable reward as plain ONNX",
} as const;

export const INIT = declare({
  heading: "Pipelines",
  summary: "write a pipeline to begin with",
  arguments: [
    {
      name: "name",
      help: `${Object.keys(STARTERS).join(", ")} (default: best-of-n)`,
      what: "the name of a pipeline that ships with Laurel",
      optional: true,
      completion: Object.keys(STARTERS),
    },
  ],
  options: {
    out: file("where to write it (default: <name>.yaml here)"),
    force: toggle("overwrite what is there"),
    list: toggle("list the pipelines to choose from, and stop"),
    ...OUTPUT_OPTIONS,
  },
  examples: ["laurel init", "laurel init prompt-sweep --out sweep.yaml", "laurel init --list"],
  notes:
    "Its first line names the JSON Schema, with which editors complete and check it: the one of a Laurel in node_modules, or a copy beside the pipeline.",
});

/** Options of `laurel init`. */
export type InitFlags = FlagsOf<typeof INIT.options>;
