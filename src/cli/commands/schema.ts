/** @file `laurel schema`: JSON Schemas for editors, and what `laurel serve` takes and gives. */

import { EXIT } from "../../errors.js";
import { jsonSchema } from "../../pipeline/document/json-schema.js";
import { openApi } from "../../web/openapi.js";
import type { Action } from "../context.js";
import { chosen } from "../declare.js";
import { printJson } from "../output.js";
import { SCHEMAS } from "./schema.entry.js";

export const schema: Action<object> = async ({ terminal }, [document = "pipeline"]) => {
  const name = chosen("document", SCHEMAS, document);
  printJson(terminal, name === "serve" ? openApi() : jsonSchema(name));
  return EXIT.ok;
};
