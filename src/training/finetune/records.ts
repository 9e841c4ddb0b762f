/** @file The lines and files of a training folder that others read: updates, validations, the grid's prompts. */

import { z } from "zod";

/** One update in `log.jsonl`; further metrics by their names (`reward/<name>`, `pretrain/loss`, `gradientRatio`, ...). A number that is none is null. */
export const updateRecordSchema = z.looseObject({
  step: z.number().int().nonnegative(),
  loss: z.number().nullable(),
  learningRate: z.number().nullable(),
  gradientNorm: z.number().nullable(),
  /** Since the training began, over all sessions. */
  seconds: z.number().nullable(),
});

/** One line of `log.jsonl`. */
export type UpdateRecord = z.infer<typeof updateRecordSchema>;

/** Numbers as JSON lines hold them: one that is none is null in the file and NaN here. */
export const numbersSchema = z.array(
  z
    .number()
    .nullable()
    .transform((value) => value ?? Number.NaN),
);

/** One validation in `validation.jsonl`. Scores come in the same order of prompts and seeds every time; one that is no number is null in the file and NaN here. */
export const validationRecordSchema = z.object({
  /** 0 is the base model. */
  step: z.number().int().nonnegative(),
  /** By reward name, one a picture. */
  scores: z.record(z.string(), numbersSchema),
  /** The rewards that training follows. */
  guide: z.array(z.string()),
  /** The rewards that training never sees. */
  heldOut: z.array(z.string()),
  /** In bits, one a prompt; null when it was not measured. */
  diversity: numbersSchema.nullable(),
  /** Mean squared difference of the noise predictions to the base's; null when it was not measured. */
  divergence: z.number().nullable(),
  /** The alarm's sentence; null when there was none. */
  alarm: z.string().nullable(),
});

/** One line of `validation.jsonl`. */
export type ValidationRecord = z.infer<typeof validationRecordSchema>;

/** One place of the grid in `validation/prompts.json`: the same prompt and seed in every validation. */
export const gridPlaceSchema = z.object({
  index: z.number().int().nonnegative(),
  prompt: z.string(),
  seed: z.number().int().nonnegative(),
});

/** One picture of a validation that is kept. */
export type GridPlace = z.infer<typeof gridPlaceSchema>;

/** `training.json` as far as others read it; `config` and `models` as they were written. */
export const trainingManifestSchema = z.looseObject({
  format: z.literal(1),
  kind: z.literal("training"),
  id: z.string(),
  method: z.string(),
  status: z.enum(["running", "finished", "stopped", "failed"]),
  config: z.record(z.string(), z.unknown()),
  models: z.unknown(),
  versions: z.record(z.string(), z.unknown()),
  startedAt: z.string(),
  finishedAt: z.string().nullable(),
  /** Updates that were asked for, and that were made. */
  steps: z.number().int().nonnegative(),
  step: z.number().int().nonnegative(),
  /** Why it ended before its last step. */
  stop: z.object({ reason: z.string(), step: z.number().int() }).nullable(),
  warnings: z.array(z.string()).default([]),
});

/** What `training.json` says. */
export type TrainingManifest = z.infer<typeof trainingManifestSchema>;
