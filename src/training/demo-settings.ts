/** @file The documents of configs/training: one schema per stage, discriminated on `stage`. */

import { readFileSync } from "node:fs";
import { parseDocument } from "yaml";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { DEMO_STAGES, type DemoStage } from "./demo-stages.js";

export { DEMO_STAGES, type DemoStage };

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

const schedule = z.strictObject({
  type: z.enum(["cosine", "constant"]),
  learningRate: positive,
  warmupSteps: z.int().nonnegative().default(0),
  coolDown: share.default(0),
  floor: share.default(0),
});

const optimizer = z.strictObject({
  schedule,
  beta1: share.default(0.9),
  beta2: share.default(0.999),
  epsilon: positive.default(1e-8),
  weightDecay: z.number().nonnegative().default(0),
  clipNorm: positive.default(Number.POSITIVE_INFINITY),
  averageDecay: share.default(0.999),
});

const common = {
  steps: count,
  batchSize: count,
  accumulate: count.default(1),
  seed: z.int().nonnegative().default(1),
  optimizer,
};

const settings = z.discriminatedUnion("stage", [
  z.strictObject({
    stage: z.literal("autoencoder"),
    ...common,
    divergence: z.number().nonnegative(),
    foreground: positive,
    latentNoise: z.number().nonnegative().default(0),
    crop: z.int().multipleOf(8).min(16).max(64).default(64),
  }),
  z.strictObject({ stage: z.literal("denoiser"), ...common, promptDropout: share }),
  z.strictObject({
    stage: z.literal("reward"),
    ...common,
    generatedShare: share.default(0.5),
    generated: z.strictObject({ prompts: count, imagesPerPrompt: count }).optional(),
  }),
  z
    .strictObject({ stage: z.literal("judge"), ...common, groupSize: count })
    .refine(({ batchSize, groupSize }) => batchSize % groupSize === 0, {
      error: "groupSize must divide batchSize",
      path: ["groupSize"],
    }),
]);

/** Settings of one stage, complete. */
export type DemoSettings = z.infer<typeof settings>;

/** The shipped settings of a stage. */
export function defaultSettingsPath(stage: DemoStage): URL {
  return new URL(`../../configs/training/${stage}.yaml`, import.meta.url);
}

/** Reads a YAML or JSON document of settings. @throws UsageError with every fault: path in the document, and line and column of a syntax error */
export function readDemoSettings<S extends DemoStage>(
  stage: S,
  path: string | URL,
): Extract<DemoSettings, { stage: S }> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UsageError(`${String(path)}: expected training settings, got no readable file`, { cause: error });
  }
  return parseDemoSettings(stage, text, String(path));
}

/** As `readDemoSettings`, from text. */
export function parseDemoSettings<S extends DemoStage>(
  stage: S,
  text: string,
  where: string,
): Extract<DemoSettings, { stage: S }> {
  const document = parseDocument(text);
  const [syntax] = document.errors;
  if (syntax !== undefined) throw new UsageError(`${where}: ${syntax.message.split("\n")[0]}`);
  const parsed = settings.safeParse(document.toJS());
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "document"}: ${message}`);
    throw new UsageError(`${where}: ${faults.join("; ")}`);
  }
  if (parsed.data.stage !== stage)
    throw new UsageError(`${where}: expected settings of ${stage}, got those of ${parsed.data.stage}`);
  return parsed.data as Extract<DemoSettings, { stage: S }>;
}
