/** @file What `laurel models rm` takes. */

import { declare, type FlagsOf, toggle } from "../declare.js";

export const MODELS_RM = declare({
  summary: "remove fetched models",
  arguments: [
    {
      name: "name",
      help: "models' names, or ORG/REPO[@REVISION]",
      what: "a model's name",
      variadic: true,
      completion: "nothing",
    },
  ],
  options: { yes: toggle("do not ask", "y") },
  examples: ["laurel models rm sd-1.5", "laurel models rm stabilityai/sd-turbo@main --yes"],
  notes: `Removes all revisions of a repository, or the one that is named, and the files that no other revision refers to: Python's programs lose them, too. A
repository that another installed reward needs stays.`,
});

/** Options of `laurel models rm`. */
export type ModelsRmFlags = FlagsOf<typeof MODELS_RM.options>;
