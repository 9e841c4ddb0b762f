/** @file What `laurel models pull` takes. */

import { declare, type FlagsOf, several, textual, toggle } from "../declare.js";
import { OUTPUT_OPTIONS } from "../options.js";

export const MODELS_PULL = declare({
  summary: "fetch a model from the Hugging Face hub",
  arguments: [
    {
      name: "name",
      help: "a model's name, or ORG/REPO[@REVISION][:FILE] on the hub",
      what: "a model's name",
      completion: "nothing",
    },
  ],
  options: {
    include: several(textual("files to fetch, too: a path or a pattern; may be given again", "glob", "a pattern")),
    check: toggle("hash what is there already, and fetch again what is damaged"),
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel models pull sd-1.5",
    "laurel models pull image-reward-v1.0",
    "laurel models pull stabilityai/sd-turbo@main --include 'unet/*.fp16.safetensors'",
  ],
  notes: `Names are those of configs/models and configs/rewards; their licences are shown before anything is fetched. Of a repository without a name what
Laurel reads is fetched, or with --include what matches. The cache is that of Python's huggingface_hub, at HF_HUB_CACHE or HF_HOME; HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE mean what they mean there. What breaks off is gone on with by the next pull. Prints the path.`,
});

/** Options of `laurel models pull`. */
export type ModelsPullFlags = FlagsOf<typeof MODELS_PULL.options>;
