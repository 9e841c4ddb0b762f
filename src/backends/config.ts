/** @file How a backend is configured: one schema per kind, told apart by `backend`. Secrets are named here, never written. */

import { z } from "zod";
import { isSecretName } from "../util/secret.js";
import { SLOTS } from "./comfyui/graph.js";

/** Where a secret is found: an environment variable (or its `_FILE` form), or a file. `writeOnly`: what is written instead is never repeated. */
export const secretSchema = z
  .strictObject({
    env: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/)
      .optional()
      .describe("name of an environment variable; NAME_FILE may give a file instead"),
    file: z.string().min(1).optional().describe("path of a file that holds the secret alone"),
  })
  .refine(({ env, file }) => (env === undefined) !== (file === undefined), "expected env or file, one of them")
  .meta({ writeOnly: true, description: "where the secret is found; never the secret itself" });

/** An address of a server; passwords have a place of their own. */
export const addressSchema = z
  .string()
  .min(1)
  .refine((url) => !/^[a-z][a-z0-9+.-]*:\/\/[^/?#]*@/i.test(url), "expected an address without user or password in it")
  .meta({ examples: ["http://127.0.0.1:7860"] });

/** One server, or several of one kind that share the work. */
const urlSchema = z.union([addressSchema, z.array(addressSchema).min(1)]);

/** Settings of every backend that speaks to a server. */
const server = {
  concurrency: z.number().int().min(1).max(1000).optional().describe("requests at once, over all servers"),
  rate: z
    .strictObject({ requests: z.number().int().min(1), perSeconds: z.number().positive() })
    .optional()
    .describe("at most this many requests in this many seconds"),
  timeout: z.number().positive().max(86_400).optional().describe("seconds one request may take"),
  retries: z.number().int().min(0).max(20).optional().describe("attempts after the first"),
  price: z
    .strictObject({ perImage: z.number().nonnegative(), currency: z.string().min(1) })
    .optional()
    .describe("what a picture costs, for estimates"),
};

const localSchema = z.strictObject({
  backend: z.literal("local"),
  model: z.string().min(1).optional().describe("folder in diffusers layout; left out, the model that ships inside"),
});

const webuiSchema = z.strictObject({
  backend: z.literal("webui"),
  url: urlSchema.default("http://127.0.0.1:7860"),
  user: z.string().min(1).optional(),
  password: secretSchema.optional(),
  model: z.string().min(1).optional().describe("checkpoint, by title or name"),
  scheduler: z.string().min(1).optional().describe("noise schedule beside the sampler"),
  batch: z.number().int().min(1).max(64).optional(),
  ...server,
});

const openaiSchema = z.strictObject({
  backend: z.literal("openai"),
  url: urlSchema.default("https://api.openai.com/v1").describe("base address, up to and with /v1"),
  key: secretSchema.optional(),
  model: z.string().min(1).optional(),
  quality: z.string().min(1).optional(),
  extra: z
    .record(
      z.string().refine((name) => !isSecretName(name), "expected no secret among the further fields"),
      z.union([z.string(), z.number(), z.boolean()]),
    )
    .optional()
    .describe("further fields of the request, as the server documents them"),
  ...server,
});

const huggingfaceSchema = z.strictObject({
  backend: z.literal("huggingface"),
  model: z.string().min(1).optional().describe("model on the hub, organisation/name"),
  provider: z.string().min(1).optional().describe("inference provider; left out, the first that serves the model"),
  url: addressSchema.optional().describe("a dedicated endpoint instead of a provider"),
  token: secretSchema.optional(),
  billTo: z.string().min(1).optional().describe("account that pays"),
  ...server,
});

/** LoRAs that lie on the server. */
const serverLorasSchema = z
  .array(
    z.strictObject({
      name: z.string().min(1).describe("the file's name on the server, with or without folder and ending"),
      scale: z.number().min(-100).max(100).optional().describe("1 if left out"),
    }),
  )
  .min(1)
  .optional();

const placeSchema = z
  .string()
  .regex(/^[^.]+\../, "expected <node>.<input>, for example 6.text")
  .meta({ examples: ["6.text"] });

const comfyuiSchema = z.strictObject({
  backend: z.literal("comfyui"),
  url: urlSchema.default("http://127.0.0.1:8188"),
  user: z.string().min(1).optional().describe("of a proxy before the server, which knows no users itself"),
  password: secretSchema.optional(),
  model: z.string().min(1).optional().describe("checkpoint, with or without folder and ending; left out, the only one"),
  scheduler: z.string().min(1).optional().describe("noise schedule for samplers that say none"),
  loras: serverLorasSchema,
  workflow: z.string().min(1).optional().describe("a workflow of yours in API format, instead of the built-in graph"),
  slots: z
    .partialRecord(z.enum(SLOTS), z.union([placeSchema, z.array(placeSchema).min(1)]))
    .optional()
    .describe("where settings go in the workflow, beside {{prompt}} and its like in the file: { prompt: 6.text }"),
  output: z.string().min(1).optional().describe("the workflow's node whose picture is taken; left out, the only one"),
  seeds: z.literal("none").optional().describe("draws with a workflow that has no place for a seed"),
  ...server,
});

const sdcppSchema = z.strictObject({
  backend: z.literal("sdcpp"),
  url: urlSchema.default("http://127.0.0.1:1234"),
  scheduler: z.string().min(1).optional().describe("noise schedule for samplers that say none"),
  loras: serverLorasSchema,
  batch: z.number().int().min(1).max(64).optional(),
  ...server,
});

const folderSchema = z.strictObject({
  backend: z.literal("folder"),
  path: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]).describe("files, folders or patterns"),
  prompts: z.enum(["metadata", "sidecar", "any"]).default("any").describe("where the prompt of a picture comes from"),
});

/** A backend's configuration, as in `configs/backends/*.yaml` and under `backend:` of a pipeline. */
export const backendConfigSchema = z.discriminatedUnion("backend", [
  localSchema,
  webuiSchema,
  comfyuiSchema,
  sdcppSchema,
  openaiSchema,
  huggingfaceSchema,
  folderSchema,
]);

/** How a backend is configured: one form per kind, told apart by `backend`. */
export type BackendConfig = z.infer<typeof backendConfigSchema>;
/** A kind of backend. */
export type BackendKind = BackendConfig["backend"];

/** The names of the backends. */
export const BACKEND_KINDS = [
  "local",
  "huggingface",
  "webui",
  "comfyui",
  "sdcpp",
  "openai",
  "folder",
] as const satisfies readonly BackendKind[];
