/** @file The documents of configs/training: one schema per stage, discriminated on `stage`. */

import { fileURLToPath } from "node:url";
import { parseDocument } from "yaml";
import { z } from "zod";
import { UsageError } from "../errors.js";
import { readTextSync } from "../util/read-file.js";

/** Settings are a page of text. */
const MAX_BYTES = 1 << 18;
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
  const file = path instanceof URL ? fileURLToPath(path) : path;
  const text = readTextSync(file, { expected: "training settings", limit: MAX_BYTES, as: UsageError });
  return parseDemoSettings(stage, text, file);
}

/** As `readDemoSettings`, from text. */
export function parseDemoSettings<S extends DemoStage>(
  stage: S,
  text: string,
  where: string,
): Extract<DemoSettings, { stage: S }> {
  const parsed = settings.safeParse(parseYaml(text, where));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".") || "document"}: ${message}`);
    throw new UsageError(`${where}: ${faults.join("; ")}`);
  }
  if (parsed.data.stage !== stage)
    throw new UsageError(`${where}: expected settings of ${stage}, got those of ${parsed.data.stage}`);
  return parsed.data as Extract<DemoSettings, { stage: S }>;
}

/** The document's value. Deep nesting and aliases of aliases make the parser itself throw. */
function parseYaml(text: string, where: string): unknown {
  let fault: string | undefined;
  try {
    const document = parseDocument(text);
    fault = document.errors[0]?.message;
    if (fault === undefined) return document.toJS();
  } catch (error) {
    fault = error instanceof RangeError ? "expected fewer levels of nesting, got too many" : (error as Error).message;
  }
  throw new UsageError(`${where}: ${fault.split("\n")[0]}`);
}
