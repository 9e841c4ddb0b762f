/** @file What `laurel models verify` takes. */

import { declare, type FlagsOf } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const MODELS_VERIFY = declare({
  summary: "hash fetched models and name damaged files",
  arguments: [
    {
      name: "name",
      help: "models' names, or ORG/REPO[@REVISION] (default: all in the cache)",
      what: "a model's name",
      optional: true,
      variadic: true,
      completion: "nothing",
    },
  ],
  options: { ...OUTPUT_OPTIONS },
  examples: ["laurel models verify", "laurel models verify sd-1.5 image-reward-v1.0"],
  notes:
    "Every file's bytes are hashed and compared with the hash that the hub gave for them. Exit code 5 when a file is damaged; laurel models pull NAME --check fetches it again.",
});

/** Options of `laurel models verify`. */
export type ModelsVerifyFlags = FlagsOf<typeof MODELS_VERIFY.options>;
