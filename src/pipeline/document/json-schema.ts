/** @file JSON Schemas for editors (draft 7), as `schema/` has them. */

import { z } from "zod";
import { chatConfigSchema } from "../../backends/chat/config.js";
import { backendConfigSchema } from "../../backends/config.js";
import { finetuneSchema } from "../../training/finetune/settings.js";
import { documentSchema, exportDocumentSchema, trainSchema } from "./schema.js";

type JsonSchema = Record<string, unknown>;

/** What a mapping may take from other files. */
const use = {
  description: "files whose mappings are taken; what is said here wins",
  anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }],
};

/** The schema of pipelines, of the configurations in `configs/backends`, or of settings of `laurel train` in `configs/training`. */
export function jsonSchema(name: "pipeline" | "backend" | "training"): JsonSchema {
  if (name === "training") return trainingSchema();
  return name === "pipeline" ? pipelineSchema() : backendSchema();
}

/** A template may stand wherever a value may, and a mapping may take what another file says. */
function pipelineSchema(): JsonSchema {
  // the settings have a schema of their own, which is as large as all the rest
  const settings = z.looseObject({}).describe("settings of a training; use: configs/training/refl.yaml takes a file's");
  const train = trainSchema.extend({ settings }).describe(trainSchema.description ?? "");
  const drawing = documentSchema.extend({ train: train.optional() });
  const template = { type: "string", pattern: "\\$\\{.+\\}" };
  const schema = z.toJSONSchema(z.union([drawing, exportDocumentSchema]), {
    io: "input",
    target: "draft-7",
    override: ({ jsonSchema: part, path }) => {
      const { type, enum: values } = part;
      if (mayUse(part)) {
        // the documents themselves are none
        if (path.length > 2 && part.minProperties === undefined) mayBeTemplate(part, template);
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

/** Lets a mapping take what another file says: what is missing may be there. True for a mapping. */
function mayUse(part: z.core.JSONSchema.BaseSchema): boolean {
  if (part.oneOf !== undefined) {
    part.anyOf = part.oneOf;
    delete part.oneOf;
  }
  if (part.type !== "object" || part.properties === undefined) return false;
  part.properties["use"] = use as typeof part;
  if (part.required !== undefined) part.anyOf = [{ required: part.required }, { required: ["use"] }];
  delete part.required;
  return true;
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

function trainingSchema(): JsonSchema {
  const schema = z.toJSONSchema(finetuneSchema, {
    io: "input",
    target: "draft-7",
    override: ({ jsonSchema: part }) => void mayUse(part),
  });
  return { ...schema, title: "Laurel training" };
}
