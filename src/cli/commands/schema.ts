/** @file `laurel schema`: the JSON Schema of pipelines. */

import { EXIT } from "../../errors.js";
import { pipelineJsonSchema } from "../../pipeline/document/schema.js";
import type { Action } from "../context.js";
import { printJson } from "../output.js";

export const schema: Action<object> = async ({ terminal }) => {
  printJson(terminal, pipelineJsonSchema());
  return EXIT.ok;
};
