/** @file What submitters and workers say to each other: the data of jobs, their values, and how jobs and queues are named. */

import { z } from "zod";
import type { BackendConfig } from "../backends/config.js";
import type { BackendCapabilities } from "../backends/contract.js";
import { UsageError } from "../errors.js";
import { modelsSchema } from "../pipeline/manifest.js";
import { packageVersion } from "../pipeline/package-info.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import type { Json } from "../queue/contract.js";
import { sha256 } from "../util/files.js";

/** Counts up when data or values of jobs change their meaning: a submitter and a worker that differ in it refuse each other. */
export const PROTOCOL = 1;

/** Who speaks. */
export interface Speaker {
  readonly protocol: number;
  /** Version of Laurel. */
  readonly laurel: string;
}

/** This process. */
export function speaker(): Speaker {
  return { protocol: PROTOCOL, laurel: packageVersion() };
}

const speakerSchema = { protocol: z.number().int(), laurel: z.string() };
const sha256Schema = z.string().regex(/^[0-9a-f]{64}$/);
const whole = z.number().int().nonnegative();
/** A model as both sides know it: the worker's has to be the same. */
const expectedSchema = z.strictObject({ name: z.string(), model: z.string(), digest: sha256Schema.nullable() });

/** A model that both sides have to mean. */
export type ExpectedModel = z.infer<typeof expectedSchema>;

/** A file that a request needs, in the storage by its content. */
const fileSchema = z.strictObject({ name: z.string(), sha256: sha256Schema });

/** A picture in the storage. */
const pictureSchema = z.strictObject({ key: z.string(), sha256: sha256Schema, bytes: z.number().int().positive() });

/** A picture in the storage. */
export type StoredPicture = z.infer<typeof pictureSchema>;

/** A request for pictures as it travels: undefined is null, pictures and files are in the storage. */
export const travellingRequestSchema = z.strictObject({
  prompt: z.string(),
  negativePrompt: z.string().nullable(),
  seed: whole,
  count: z.number().int().positive(),
  batch: z.number().int().positive(),
  steps: z.number().nullable(),
  guidance: z.number().nullable(),
  sampler: z.string().nullable(),
  width: z.number().nullable(),
  height: z.number().nullable(),
  strength: z.number().nullable(),
  promptSyntax: z.enum(PROMPT_SYNTAXES).nullable(),
  clipSkip: z.number().nullable(),
  loraAnneal: z.number().nullable(),
  init: pictureSchema.nullable(),
  mask: pictureSchema.nullable(),
  embeddings: z.array(fileSchema),
  loras: z.array(fileSchema.extend({ scale: z.number() })),
});

/** A request for pictures as it travels. */
export type TravellingRequest = z.infer<typeof travellingRequestSchema>;

/** What judges, by names and paths that workers know. */
const choiceSchema = z.strictObject({
  rewardModel: z.string().nullable(),
  rewards: z.array(
    z.strictObject({
      reward: z.string(),
      weight: z.number(),
      mean: z.number().optional(),
      std: z.number().optional(),
    }),
  ),
  heldOut: z.array(z.string()),
});

/** What judges, by names and paths that workers know. */
export type TravellingChoice = z.infer<typeof choiceSchema>;

/** What a job is. */
export const jobSchema = z.discriminatedUnion("kind", [
  /** Asks a worker what it draws with, and whether it sees the same storage. */
  z.strictObject({ kind: z.literal("describe-backend"), ...speakerSchema, probe: z.string() }),
  /** The same of what it scores with. */
  z.strictObject({ kind: z.literal("describe-reward"), ...speakerSchema, probe: z.string(), choice: choiceSchema }),
  /** Draws one group of pictures. */
  z.strictObject({
    kind: z.literal("draw"),
    ...speakerSchema,
    expect: expectedSchema,
    request: travellingRequestSchema,
  }),
  /** Scores pictures of the storage. */
  z.strictObject({
    kind: z.literal("score"),
    ...speakerSchema,
    expect: expectedSchema,
    choice: choiceSchema,
    prompt: z.string(),
    images: z.array(pictureSchema).min(1),
  }),
]);

/** What a job is. */
export type Job = z.infer<typeof jobSchema>;

/** The value of a draw job. */
export const drawnSchema = z.strictObject({
  images: z.array(
    pictureSchema.extend({
      seed: whole,
      evaluations: z.number().nonnegative(),
      reportedSeed: z.number().nullable().optional(),
      revisedPrompt: z.string().optional(),
      source: z.string().optional(),
    }),
  ),
  warnings: z.array(z.string()),
});

/** The value of a draw job. */
export type Drawn = z.infer<typeof drawnSchema>;

/** A score that was no finite number is null. */
const scoresSchema = z.array(z.number().nullable());

/** The value of a score job. */
export const scoredSchema = z.strictObject({
  scores: scoresSchema,
  warnings: z.array(z.string()),
  members: z.record(z.string(), scoresSchema).optional(),
  heldOut: z.record(z.string(), scoresSchema).optional(),
});

const answerSchema = {
  ...speakerSchema,
  /** The worker's clock, ISO 8601. */
  now: z.string(),
  worker: z.string(),
};

/** What a backend can honour. All of it, or this does not compile. */
const capabilitySchemas = {
  seeds: z.enum(["exact", "requested", "none"]),
  negativePrompt: z.boolean(),
  steps: z.boolean(),
  guidance: z.boolean(),
  maximumBatch: z.number().int().positive(),
  cancel: z.enum(["waiting", "drawing"]),
  textToImage: z.boolean(),
  imageToImage: z.boolean(),
  inpainting: z.boolean(),
  samplers: z.array(z.string()),
  size: z.strictObject({ multiple: z.number(), minimum: z.number(), maximum: z.number() }).optional(),
  promptSyntaxes: z.array(z.enum(PROMPT_SYNTAXES)).optional(),
  clipSkip: z.number().optional(),
  embeddings: z.boolean().optional(),
  loras: z.boolean().optional(),
  distilledGuidance: z.boolean().optional(),
} satisfies Record<Exclude<keyof BackendCapabilities, "concurrency">, z.ZodType>;

/** The value of a describe-backend job. */
export const describedBackendSchema = z.strictObject({
  ...answerSchema,
  name: z.string(),
  record: modelsSchema.shape.backend,
  capabilities: z.object(capabilitySchemas),
  defaults: z.strictObject({
    steps: z.number().optional(),
    guidance: z.number().optional(),
    sampler: z.string().optional(),
    width: z.number().optional(),
    height: z.number().optional(),
    batch: z.number().int().positive(),
  }),
});

/** The value of a describe-reward job. */
export const describedRewardSchema = z.strictObject({
  ...answerSchema,
  name: z.string(),
  model: z.string(),
  range: z.tuple([z.number(), z.number()]),
  reference: z.strictObject({ mean: z.number(), std: z.number(), source: z.string() }).optional(),
  records: modelsSchema.omit({ backend: true }),
});

/** A job's id: the hash of all that decides its value. */
export function jobId(job: Job): string {
  return `${job.kind}-${sha256(canonical(job as Json))}`;
}

/** JSON with keys in order, so that equal values are equal texts. */
export function canonical(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${value.map((one: Json) => canonical(one)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  const entries = Object.entries(value as Readonly<Record<string, Json | undefined>>)
    .filter(([, one]) => one !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, one]) => `${JSON.stringify(key)}:${canonical(one)}`).join(",")}}`;
}

/** Names the failure of a job that needs a picture which is not in the storage any more. */
export const LOST_PICTURE = "LostPictureError";

/** The capability that scoring takes. */
export const SCORE_CAPABILITY = "score";

/** The capability that a backend of a pipeline takes: `local`, `local:sd-1.5`, `webui`. Of a path, the name of the file or folder. */
export function capabilityOf(config: BackendConfig): string {
  if (config.backend === "folder") {
    throw new UsageError("--queue: expected a backend that draws, got folder, whose pictures are here already");
  }
  if (config.backend !== "local" || config.model === undefined) return config.backend;
  return `local:${modelName(config.model)}`;
}

/** A model as capabilities name it: a path by its last part. */
export function modelName(model: string): string {
  return /^(\.{0,2}|~|[A-Za-z]:)[\\/]/.test(model) ? (model.split(/[\\/]/).filter(Boolean).at(-1) ?? model) : model;
}

/** The queue of a capability. @throws UsageError for a capability that names none */
export function queueOf(capability: string): string {
  const queue = capability.replaceAll(":", ".").replaceAll(/[^A-Za-z0-9._-]+/g, "-");
  if (!/[A-Za-z0-9]/.test(queue) || queue.length > 100) {
    throw new UsageError(
      `capability: expected a name of up to 100 letters and digits, got ${JSON.stringify(capability)}`,
    );
  }
  return queue;
}
