/** @file What `laurel models path` takes. */

import { declare, type FlagsOf, toggle } from "../declare.js";

export const MODELS_PATH = declare({
  summary: "print where a fetched model lies",
  arguments: [
    {
      name: "name",
      help: "a model's name, or ORG/REPO[@REVISION][:FILE]",
      what: "a model's name",
      completion: "nothing",
    },
  ],
  options: { json: toggle("print one JSON object") },
  examples: ["laurel models path sd-1.5", "laurel models path image-reward-v1.0 --json | jq -r .parts.weights"],
  notes:
    "Looks into the cache alone, without a network. A reward that is made of several parts has a line for each. Exit code 5 when it was not fetched.",
});

/** Options of `laurel models path`. */
export type ModelsPathFlags = FlagsOf<typeof MODELS_PATH.options>;
