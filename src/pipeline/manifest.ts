/** @file run.json: what was asked, what it was resolved to, with which models, and how it went. */

import { z } from "zod";
import { backendConfigSchema } from "../backends/config.js";
import { MAX_CANDIDATES, MAX_SEED } from "../backends/contract.js";
import { UsageError } from "../errors.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import { PREDICTION_TYPES } from "../samplers/names.js";
import type { Limits } from "../strategies/budget.js";
import { STRATEGY_NAMES } from "../strategies/names.js";
import { type StrategySettings, strategySchema } from "../strategies/settings.js";
import { parseJson, readText } from "../util/read-file.js";

const count = z.number().int().min(1).max(MAX_CANDIDATES);
const seed = z.number().int().min(0).max(MAX_SEED);
const side = z.number().int().positive();
const steps = z.number().int().positive();
const batch = z.number().int().positive();
const milliseconds = z.number().nonnegative();

/** A reward by name or path, its weight, and where its scores lie if that was said. */
const chosenSchema = z.strictObject({
  reward: z.string(),
  weight: z.number(),
  mean: z.number().optional(),
  std: z.number().optional(),
});

/** A strategy with its options; earlier runs say its name alone. */
const chosenStrategySchema = z.union([
  z.enum(STRATEGY_NAMES).transform((name): StrategySettings => ({ name })),
  strategySchema,
]);

/** What may be spent beside the candidates; null for what is not limited. */
const budgetSchema = z.strictObject({
  /** Of the denoiser. */
  evaluations: z.number().int().positive().nullable(),
  /** Of drawing and scoring, over all sessions. */
  seconds: z.number().positive().nullable(),
  /** Enough: so many candidates with at least this score. */
  until: z.strictObject({ score: z.number(), images: count }).nullable(),
});

/** What a user asks for; null leaves the choice to the backend, the reward, or (for `seed`) to chance. */
export const requestSchema = z.strictObject({
  prompt: z.string().refine((text) => text.trim() !== "", "expected some text, got an empty prompt"),
  negativePrompt: z.string().nullable(),
  /** How the prompts are read. */
  promptSyntax: z.enum(PROMPT_SYNTAXES).default("plain"),
  /** Layer of the text encoder from the end, 1 being the last; null where nothing was said. */
  clipSkip: z.number().int().positive().nullable().default(null),
  /** Files of textual inversion embeddings, absolute. */
  embeddings: z.array(z.string()).default([]),
  /** LoRA files, absolute, with their scales. */
  loras: z.array(z.strictObject({ path: z.string(), scale: z.number() })).default([]),
  /** From which share of the way on the denoiser's LoRAs have all of their scale; null where they have it throughout. */
  loraAnneal: z.number().nullable().default(null),
  /** How the budget is spent. */
  strategy: chosenStrategySchema,
  /** Candidates to draw, or for a search the compute of so many; the most where something else is limited. */
  count,
  budget: budgetSchema.default({ evaluations: null, seconds: null, until: null }),
  /** How many of the best are marked as kept. */
  keep: count,
  /** Kept are good candidates that differ, rather than the best. */
  diverse: z.boolean().default(false),
  seed: seed.nullable(),
  steps: steps.nullable(),
  guidance: z.number().nullable(),
  sampler: z.string().nullable(),
  width: side.nullable(),
  height: side.nullable(),
  /** How far to go from the initial picture; null without one. */
  strength: z.number().nullable().default(null),
  batch: batch.nullable(),
  /** What draws, as configured, with secrets named and not held; null for the local backend over `model`. */
  backend: backendConfigSchema.nullable().default(null),
  /** Folder of the generating model; null for the one that ships inside. */
  model: z.string().nullable(),
  /** Variant of the model's weights; null for those without one. */
  variant: z.string().nullable().default(null),
  /** What the denoiser was said to predict; null where the model says. */
  prediction: z.enum(PREDICTION_TYPES).nullable().default(null),
  /** Folder or file of the reward; null for the one that ships inside. */
  rewardModel: z.string().nullable(),
  /** The rewards that choose, as they were named; none for `rewardModel` alone. */
  rewards: z.array(chosenSchema).default([]),
  /** Rewards that are reported and choose nothing, as they were named. */
  heldOut: z.array(z.string()).default([]),
});

/** The request with every choice made; a setting stays null only when the backend cannot be told. */
export const configSchema = requestSchema.extend({
  seed,
  batch,
  /** The prompt as the reward reads it: without its syntax. Null where it reads it as it stands. */
  rewardPrompt: z.string().nullable().default(null),
});

/** What a run says of a model it used. */
export const modelSchema = z.strictObject({
  name: z.string(),
  model: z.string(),
  path: z.string().nullable(),
  /** SHA-256 over the model's files; null for a remote service. */
  digest: z.string().nullable(),
});

/** A reward of an ensemble: its score enters the sum as weight * (score - mean) / std. */
export const memberSchema = modelSchema.extend({
  weight: z.number(),
  mean: z.number(),
  std: z.number().positive(),
  /** What mean and std are of. */
  source: z.string(),
});

/** What draws, what chooses, and what only watches. */
export const modelsSchema = z.strictObject({
  backend: modelSchema,
  reward: modelSchema,
  /** Of an ensemble; their names are those of the candidates' `scores`. */
  members: z.array(memberSchema).optional(),
  /** Their names are those of the candidates' `heldOut`. */
  heldOut: z.array(modelSchema).optional(),
});

const inputSchema = z.strictObject({
  /** Path of the PNG, relative to the run's folder, with forward slashes. */
  path: z.enum(["inputs/init.png", "inputs/mask.png"]),
  /** SHA-256 of the file, hex. */
  sha256: z.string(),
});

/** The pictures a run starts from; null for one that there is none of. */
const inputsSchema = z.strictObject({ init: inputSchema.nullable(), mask: inputSchema.nullable() });

const fileSchema = z.strictObject({
  /** Absolute. */
  path: z.string(),
  /** SHA-256 of the file, hex. */
  sha256: z.string(),
});

const timingsSchema = z.strictObject({
  /** Opening and compiling the models. */
  loadMs: milliseconds,
  /** Waiting for groups of images; may overlap with scoring. */
  generateMs: milliseconds,
  scoreMs: milliseconds,
  /** Encoding and writing images and records. */
  writeMs: milliseconds,
  /** Inside programs, on the device. */
  programMs: milliseconds,
  totalMs: milliseconds,
});

/** The versions a result may depend on. */
export const versionsSchema = z.strictObject({
  laurel: z.string(),
  node: z.string(),
  onnxruntime: z.string(),
  platform: z.string(),
});

export const manifestSchema = z.strictObject({
  schemaVersion: z.literal(1),
  runId: z.string(),
  /** `running` is also what a killed run says; `stopped` ran out of its budget. */
  status: z.enum(["running", "complete", "stopped", "cancelled", "failed"]),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
  /** Times the run was started or resumed. */
  sessions: z.number().int().nonnegative(),
  request: requestSchema,
  config: configSchema,
  inputs: inputsSchema.default({ init: null, mask: null }),
  /** The embeddings of the config, as they were. */
  embeddings: z.array(fileSchema).default([]),
  /** The LoRAs of the config, as they were. */
  loras: z.array(fileSchema).default([]),
  seeds: z.strictObject({ first: seed, last: seed }),
  models: modelsSchema,
  versions: versionsSchema,
  /** Sums over all sessions. */
  timings: timingsSchema,
  /** Evaluations of the denoiser, over all sessions; guidance counts twice. */
  evaluations: z.number().int().nonnegative(),
  /** Why the strategy ended before it had drawn all it might; null while it did not. */
  stop: z.enum(["evaluations", "seconds", "reached"]).nullable().default(null),
  /** Indices of all candidates, best first; empty until the run ends. */
  ranking: z.array(z.number().int().nonnegative()),
  /** Indices of the candidates that are kept, best first; null until the run ends. */
  kept: z.array(z.number().int().nonnegative()).nullable().default(null),
  warnings: z.array(z.string()),
  error: z.string().nullable(),
});

/** What a run was asked for; null where nothing was said. */
export type RunRequest = z.infer<typeof requestSchema>;
/** What a run was resolved to. */
export type RunConfig = z.infer<typeof configSchema>;
/** A picture that a run starts from, in its folder. */
export type InputRecord = z.infer<typeof inputSchema>;
/** The pictures that a run starts from. */
export type InputRecords = z.infer<typeof inputsSchema>;
/** A file that a run names beside its models: a textual inversion embedding, a LoRA. */
export type FileRecord = z.infer<typeof fileSchema>;
/** A model of a run. */
export type ModelRecord = z.infer<typeof modelSchema>;
/** A reward of an ensemble. */
export type MemberRecord = z.infer<typeof memberSchema>;
/** The models of a run. */
export type ModelRecords = z.infer<typeof modelsSchema>;
/** Where a run's time went, in milliseconds, over all its sessions. */
export type RunTimings = z.infer<typeof timingsSchema>;
/** The content of run.json. */
export type RunManifest = z.infer<typeof manifestSchema>;
/** How a run stands; `running` is also what a killed run says. */
export type RunStatus = RunManifest["status"];

/** What may be spent, as a strategy takes it. */
export function limitsOf({ budget: { evaluations, seconds, until } }: Pick<RunConfig, "budget">): Limits {
  return { evaluations: evaluations ?? undefined, seconds: seconds ?? undefined, until: until ?? undefined };
}

/** Timings of a run that has not begun. */
export const NO_TIME: RunTimings = { loadMs: 0, generateMs: 0, scoreMs: 0, writeMs: 0, programMs: 0, totalMs: 0 };

/** Reads and checks a run.json. @throws UsageError naming the file and every field that is wrong. */
export async function readManifest(path: string): Promise<RunManifest> {
  const text = await readText(path, { expected: "the run.json of a run", as: UsageError });
  const json = parseJson(text, path, UsageError);
  const parsed = manifestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map((issue) => `${issue.path.join(".") || "document"}: ${issue.message}`);
  throw new UsageError(`${path}: expected the manifest of a run (schema version 1), got ${faults.join("; ")}`);
}
