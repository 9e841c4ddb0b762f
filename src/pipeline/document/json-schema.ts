/** @file JSON Schemas for editors (draft 7), as `schema/` has them. */

import { z } from "zod";
import { chatConfigSchema } from "../../backends/chat/config.js";
import { backendConfigSchema } from "../../backends/config.js";
import { documentSchema } from "./schema.js";

type JsonSchema = Record<string, unknown>;

/** The schema of pipelines, or of the configurations in `configs/backends`. */
export function jsonSchema(name: "pipeline" | "backend"): JsonSchema {
  return name === "pipeline" ? pipelineSchema() : backendSchema();
}

/** A template may stand wherever a value may, and a mapping may take what another file says. */
function pipelineSchema(): JsonSchema {
  const template = { type: "string", pattern: "\\$\\{.+\\}" };
  const use = {
    description: "files whose mappings are taken; what is said here wins",
    anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }],
  };
  const schema = z.toJSONSchema(documentSchema, {
    io: "input",
    target: "draft-7",
    override: ({ jsonSchema: part, path }) => {
      if (part.oneOf !== undefined) {
        part.anyOf = part.oneOf;
        delete part.oneOf;
      }
      const { type, enum: values } = part;
      if (type === "object" && part.properties !== undefined) {
        part.properties["use"] = use as typeof part;
        // what is missing here may be in a file that is used
        if (part.required !== undefined) part.anyOf = [{ required: part.required }, { required: ["use"] }];
        delete part.required;
        if (path.length > 0 && part.minProperties === undefined) mayBeTemplate(part, template);
        return;
      }
      // any text may be one already; the names of variables may not
      const free = part.pattern === undefined || path.at(-1) === "propertyNames";
      if (values === undefined && free && (type === undefined || type === "string" || type === "null")) return;
      mayBeTemplate(part, template);
    },
  });
  return { ...schema, title: "Laurel pipeline" };
}

function mayBeTemplate(part: JsonSchema, template: object): void {
  const { description, default: standard, ...rest } = part;
  for (const key of Object.keys(part)) Reflect.deleteProperty(part, key);
  Object.assign(part, {
    ...(description === undefined ? {} : { description }),
    ...(standard === undefined ? {} : { default: standard }),
    anyOf: [rest, template],
  });
}

/** Image backends and language models lie in one folder. */
function backendSchema(): JsonSchema {
  const schema = z.toJSONSchema(z.union([backendConfigSchema, chatConfigSchema]), { io: "input", target: "draft-7" });
  return { ...schema, title: "Laurel backend" };
}
