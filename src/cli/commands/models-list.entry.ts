/** @file What `laurel models list` takes. */

import { declare, type FlagsOf, toggle, without } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const MODELS_LIST = declare({
  summary: "list the models that are installed",
  arguments: [
    {
      name: "dir",
      help: "folders to search, too, or model files",
      what: "a folder",
      optional: true,
      variadic: true,
      completion: "file",
    },
  ],
  options: {
    digest: without("do not hash the models' files"),
    check: toggle("end with exit code 5 when a model is damaged or incomplete"),
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel models list ~/models --no-digest",
    "laurel models",
    "laurel models list ~/models --check --json | jq '.models[] | select(.problems != [])'",
  ],
  notes: `Each with its kind, architecture, size and digest. Listed are the models that ship inside, those in the folders given, in the cache of the Hugging Face hub (HF_HUB_CACHE, HF_HOME) and in
~/.cache/ImageReward. Digests of large files are remembered, so that only the first time takes long.`,
});

/** Options of `laurel models list`. */
export type ModelsListFlags = FlagsOf<typeof MODELS_LIST.options>;
