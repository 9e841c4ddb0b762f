/** @file run.json, plan.json and items.jsonl of a pipeline's run. */

import { z } from "zod";
import { candidateLineSchema } from "../candidate-record.js";
import { modelsSchema, versionsSchema } from "../manifest.js";

const whole = z.number().int().nonnegative();

/** `run.json` of a pipeline: what runs, and how it stands. */
export const pipelineManifestSchema = z.strictObject({
  schemaVersion: z.literal(1),
  kind: z.literal("pipeline"),
  runId: z.string(),
  name: z.string(),
  /** The document's file, absolute, as it was called when the run began; `plan.json` has all that matters of it. */
  file: z.string(),
  /** `running` is also what a killed run says; `paused` waits for its backend or its disk; `partial` has items that failed; `stopped` spent its budget. */
  status: z.enum(["running", "complete", "partial", "stopped", "paused", "cancelled", "failed"]),
  createdAt: z.string(),
  finishedAt: z.string().nullable(),
  /** Times the run was started or resumed. */
  sessions: whole,
  /** Of the plan that is carried out. */
  planDigest: z.string(),
  /** Seed of the first candidate of the first item. */
  seed: whole,
  items: z.strictObject({ total: whole, finished: whole, failed: whole }),
  candidates: whole,
  /** Evaluations of the denoiser; guidance counts twice. */
  evaluations: z.number().nonnegative(),
  models: modelsSchema,
  versions: versionsSchema,
  /** Over all sessions. */
  totalMs: z.number().nonnegative(),
  warnings: z.array(z.string()),
  error: z.string().nullable(),
});

/** One line of a pipeline's candidates.jsonl. */
export const pipelineCandidateSchema = candidateLineSchema.extend({
  /** Name of its item. */
  item: z.string(),
  /** Which step drew it, from 0. */
  step: whole,
});

const placedSchema = z.strictObject({
  index: whole,
  seed: whole,
  score: z.number().nullable(),
  /** Path of the PNG, relative to the run's folder, with forward slashes. */
  image: z.string(),
  evaluations: z.number().nonnegative(),
});

/** One line of items.jsonl: an item that went through all steps, or failed. */
export const itemLineSchema = z.strictObject({
  schemaVersion: z.literal(1),
  index: whole,
  id: z.string(),
  /** What it was scored against. */
  prompt: z.string(),
  /** What was drawn in the end: the template filled in, or the refined prompt. */
  drawn: z.string(),
  cell: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  candidates: whole,
  evaluations: z.number().nonnegative(),
  /** The highest score of all its candidates. */
  best: placedSchema.nullable(),
  /** What its steps selected, best first. */
  selected: z.array(placedSchema),
  /** Why it failed; null when it did not. */
  error: z.string().nullable(),
});

/** What is known of a pipeline's run. */
export type PipelineManifest = z.infer<typeof pipelineManifestSchema>;
/** One finished item. */
export type ItemLine = z.infer<typeof itemLineSchema>;
/** A stored candidate, as far as choosing needs it. */
export type PlacedCandidate = z.infer<typeof placedSchema>;
/** A line of candidates.jsonl. */
export type PipelineCandidate = z.infer<typeof pipelineCandidateSchema>;

/** Names of the files that only a pipeline's run has. */
export const PIPELINE_FILES = { plan: "plan.json", items: "items.jsonl", proposals: "proposals.jsonl" } as const;
