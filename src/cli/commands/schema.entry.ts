/** @file What `laurel schema` takes. */

import { declare } from "../declare.js";

/** The documents that there are schemas of. */
export const SCHEMAS = ["pipeline", "backend", "training", "serve"] as const;

export const SCHEMA = declare({
  heading: "Pipelines",
  summary: "print the JSON Schema of pipelines, backends or trainings, or the OpenAPI description of laurel serve",
  arguments: [
    {
      name: "document",
      help: `${SCHEMAS.join(", ")} (default: pipeline)`,
      what: "a document",
      optional: true,
      completion: SCHEMAS,
    },
  ],
  options: {},
  examples: [
    "laurel schema > pipeline-v1.json",
    "laurel schema backend > backend-v1.json",
    "laurel schema training > training-v1.json",
    "laurel schema serve > serve-v1.json",
    "# first line of a pipeline: # yaml-language-server: $schema=./pipeline-v1.json",
  ],
});
