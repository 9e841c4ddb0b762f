/** @file What `laurel eval models` takes. */

import { declare, file, type FlagsOf, folder } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";
import { EVALUATED_OPTIONS } from "./eval.options.js";

export const EVAL_MODELS = declare({
  summary: "measure whether rewards order generators as people do",
  arguments: [
    {
      name: "file",
      help: "people's opinion: CSV or JSON with generator, one of rank, wins, win_rate, and images where they lie elsewhere",
      what: "a file of generators",
      completion: "file",
    },
  ],
  options: {
    prompts: file("the prompts, such as benchmark-prompts.json: {id, prompt} each"),
    images: folder("folder with a folder of pictures, <id>_<n>.png, for each generator"),
    ...EVALUATED_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel eval models people.csv --prompts benchmark-prompts.json --images generations --reward image-reward-v1.0",
    "laurel eval models people.csv --prompts prompts.txt --reward image-reward --reward clip-score --json",
  ],
  notes: `people.csv is for example:

  generator,wins,images
  openjourney,507,generations/openjourney
  sd-1.4,362,outputs/20261122-183301-benchmark-9f3a

A generator's images are a folder, or a run, whose candidates know their prompts; both relative to the file.`,
});

/** Options of `laurel eval models`. */
export type EvalModelsFlags = FlagsOf<typeof EVAL_MODELS.options>;
