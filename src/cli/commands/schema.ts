/** @file `laurel schema`: JSON Schemas for editors. */

import { EXIT } from "../../errors.js";
import { jsonSchema } from "../../pipeline/document/json-schema.js";
import type { Action } from "../context.js";
import { chosen } from "../declare.js";
import { printJson } from "../output.js";
import { SCHEMAS } from "./schema.entry.js";

export const schema: Action<object> = async ({ terminal }, [document = "pipeline"]) => {
  printJson(terminal, jsonSchema(chosen("document", SCHEMAS, document)));
  return EXIT.ok;
};
