/** @file What `laurel schema` takes. */

import { declare } from "../declare.js";

export const SCHEMA = declare({
  heading: "Pipelines",
  summary: "print the JSON Schema of pipelines, for editors",
  arguments: [],
  options: {},
  examples: [
    "laurel schema > pipeline-v1.json",
    "# first line of a pipeline: # yaml-language-server: $schema=./pipeline-v1.json",
  ],
});
