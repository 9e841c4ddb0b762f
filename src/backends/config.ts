/** @file How a backend is configured: one schema per kind, told apart by `backend`. Secrets are named here, never written. */

import { z } from "zod";

/** Where a secret is found: an environment variable (or its `_FILE` form), or a file. */
export const secretSchema = z
  .strictObject({ env: z.string().min(1).optional(), file: z.string().min(1).optional() })
  .refine(({ env, file }) => (env === undefined) !== (file === undefined), "expected env or file, one of them");

/** One server, or several of one kind that share the work. */
const urlSchema = z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]);

/** Settings of every backend that speaks to a server. */
const server = {
  /** Requests at once, over all servers. */
  concurrency: z.number().int().min(1).max(1000).optional(),
  /** At most this many requests in this many seconds. */
  rate: z.strictObject({ requests: z.number().int().min(1), perSeconds: z.number().positive() }).optional(),
  /** Seconds one request may take. */
  timeout: z.number().positive().max(86_400).optional(),
  /** Attempts after the first. */
  retries: z.number().int().min(0).max(20).optional(),
  /** What a picture costs, for estimates. */
  price: z.strictObject({ perImage: z.number().nonnegative(), currency: z.string().min(1) }).optional(),
};

const localSchema = z.strictObject({
  backend: z.literal("local"),
  /** Folder in diffusers layout; left out, the model that ships inside. */
  model: z.string().min(1).optional(),
});

const webuiSchema = z.strictObject({
  backend: z.literal("webui"),
  url: urlSchema.default("http://127.0.0.1:7860"),
  user: z.string().min(1).optional(),
  password: secretSchema.optional(),
  /** Checkpoint, by title or name. */
  model: z.string().min(1).optional(),
  /** Noise schedule beside the sampler. */
  scheduler: z.string().min(1).optional(),
  batch: z.number().int().min(1).max(64).optional(),
  ...server,
});

const openaiSchema = z.strictObject({
  backend: z.literal("openai"),
  /** Base address, up to and with `/v1`. */
  url: urlSchema.default("https://api.openai.com/v1"),
  key: secretSchema.optional(),
  model: z.string().min(1).optional(),
  quality: z.string().min(1).optional(),
  /** Further fields of the request, as the server documents them. */
  extra: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  ...server,
});

const huggingfaceSchema = z.strictObject({
  backend: z.literal("huggingface"),
  /** Model on the hub, `organisation/name`. */
  model: z.string().min(1).optional(),
  /** Inference provider; left out, the first that serves the model. */
  provider: z.string().min(1).optional(),
  /** A dedicated endpoint instead of a provider. */
  url: z.string().min(1).optional(),
  token: secretSchema.optional(),
  /** Account that pays. */
  billTo: z.string().min(1).optional(),
  ...server,
});

const folderSchema = z.strictObject({
  backend: z.literal("folder"),
  /** Files, folders or patterns. */
  path: z.union([z.string().min(1), z.array(z.string().min(1)).min(1)]),
  /** Where the prompt of a picture comes from. */
  prompts: z.enum(["metadata", "sidecar", "any"]).default("any"),
});

/** A backend's configuration, as in `configs/backends/*.yaml` and under `backend:` of a pipeline. */
export const backendConfigSchema = z.discriminatedUnion("backend", [
  localSchema,
  webuiSchema,
  openaiSchema,
  huggingfaceSchema,
  folderSchema,
]);

export type BackendConfig = z.infer<typeof backendConfigSchema>;
export type BackendKind = BackendConfig["backend"];

/** The names of the backends. */
export const BACKEND_KINDS = [
  "local",
  "huggingface",
  "webui",
  "openai",
  "folder",
] as const satisfies readonly BackendKind[];
