/** @file What `laurel eval preferences` takes. */

import { declare, type FlagsOf, folder } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";
import { EVALUATED_OPTIONS } from "./eval.options.js";

export const EVAL_PREFERENCES = declare({
  summary: "measure how well rewards agree with people's rankings of pictures",
  arguments: [
    {
      name: "file",
      help: "JSON of {id, prompt, generations, ranking}, as ImageReward's data/test.json",
      what: "a file of rankings",
      completion: "file",
    },
  ],
  options: {
    images: folder("folder that the names of pictures are relative to (default: the file's)"),
    ...EVALUATED_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel eval preferences data/test.json --images data/test_images --reward image-reward-v1.0",
    "laurel eval preferences data/test.json --images data/test_images --reward image-reward-v1.0 --reward clip-vit-l-14 --json",
    "laurel eval preferences data/test.json --scores data/test_ImageReward-v1.0.json",
  ],
  notes: `Preference accuracy is over the pairs that people ranked differently; equal scores are wrong. Recall@k: a best picture by people is among the k highest scores; filter@k: a
worst one is among the k lowest. With 95 % intervals over prompts. A picture that cannot be read leaves its prompt out, and the exit code is 4.`,
});

/** Options of `laurel eval preferences`. */
export type EvalPreferencesFlags = FlagsOf<typeof EVAL_PREFERENCES.options>;
