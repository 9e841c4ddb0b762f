/** @file The YAML of a pipeline as one schema: what `laurel check` tests, what editors complete, what the loader reads. */

import { z } from "zod";
import { backendConfigSchema, BACKEND_KINDS } from "../../backends/config.js";
import { PROMPT_SYNTAXES } from "../../prompts/attention-syntax.js";
import { MAXIMUM_ID, MAXIMUM_PROMPT } from "../../prompts/prompt-file.js";
import { SAMPLER_NAMES } from "../../samplers/names.js";
import { strategySchema } from "../../strategies/settings.js";
import { finetuneSchema } from "../../training/finetune/settings.js";
import type { MemoryMode } from "../../training/gradient-program.js";
import { isSecretName } from "../../util/secret.js";

const count = z.number().int().min(1).max(10_000);
const side = z.number().int().min(8).max(4096);
const text = z.string().min(1);
const prompt = z.string().min(1).max(MAXIMUM_PROMPT);

/** Settings of a picture that a matrix may vary. */
const scalarSettings = {
  negative: z.string().optional().describe("what not to draw"),
  promptSyntax: z
    .enum(PROMPT_SYNTAXES)
    .optional()
    .describe("how prompts are read: plain, or a1111 with (weights:1.3) and BREAK"),
  clipSkip: z
    .number()
    .int()
    .min(1)
    .max(100)
    .optional()
    .describe("layer of the text encoder from the end; 1 is the last"),
  steps: z.number().int().min(1).max(1000).optional().describe("sampling steps"),
  guidance: z.number().min(0).max(100).optional().describe("classifier-free guidance; 1 is none"),
  sampler: text.optional().describe(`how the noise is removed; the local backend has ${SAMPLER_NAMES.join(", ")}`),
  width: side.optional().describe("pixels"),
  height: side.optional().describe("pixels"),
  strength: z
    .number()
    .gt(0)
    .max(1)
    .optional()
    .describe("how far from the picture a step starts from; 1 forgets it; no step that starts from none reads it"),
  batch: z.number().int().min(1).max(1024).optional().describe("candidates drawn together"),
  loraScale: z.number().min(-100).max(100).optional().describe("multiplies the scales of lora"),
  loraAnneal: z
    .number()
    .gt(0)
    .max(1)
    .optional()
    .describe("the LoRAs grow from nothing to their scale until this share of the way from noise to picture"),
};

/** Settings of a picture; what is left out is the backend's choice. */
const settings = {
  ...scalarSettings,
  embeddings: z.array(text).optional().describe("files of textual inversion embeddings, for promptSyntax a1111"),
  lora: z.array(text).optional().describe("LoRA files, each with a scale behind a colon if it is not 1: FILE:0.8"),
};
export const settingsSchema = z.strictObject(settings);

/** Names of the settings a matrix may vary. */
export const SETTING_NAMES = Object.keys(scalarSettings) as readonly (keyof typeof scalarSettings)[];

const scalar = z.union([z.string(), z.number(), z.boolean()]);

const promptSchema = z.union([
  prompt,
  z.strictObject({
    id: z.string().min(1).max(MAXIMUM_ID).optional().describe("names the prompt in files and reports"),
    prompt,
    negative: z.string().optional(),
  }),
]);

const promptsSchema = z.union([
  prompt.describe("one prompt"),
  z.array(promptSchema).min(1),
  z.strictObject({
    file: text.describe(
      "txt (a prompt a line), csv, jsonl, or json (a list of texts or objects, as ImageReward's refl_data.json)",
    ),
    format: z.enum(["txt", "csv", "jsonl", "json"]).optional().describe("by the file's ending if left out"),
    column: text.optional().describe("column or key of the prompt; left out: prompt, text or caption"),
    offset: z.number().int().min(0).optional(),
    limit: z.number().int().min(1).optional(),
  }),
  z.strictObject({ from: z.literal("backend").describe("the prompts that the pictures of the folder backend carry") }),
]);

const generateSchema = z
  .strictObject({
    count: count.default(16).describe("candidates per prompt, at most"),
    until: z
      .strictObject({
        score: z.number().describe("a picture passes from this score on"),
        images: count.default(1).describe("stop when this many pass"),
      })
      .optional(),
    strategy: z
      .union([text, strategySchema])
      .optional()
      .describe("how the compute of count pictures is spent: particles:lambda=3 or { name: particles, lambda: 3 }"),
    init: text.optional().describe("picture to start from, instead of from noise"),
    mask: text.optional().describe("picture that says where init is repainted: white is, black is not"),
    ...settings,
  })
  .describe("draw candidates");

const scoreSchema = z.strictObject({}).describe("score against the original prompt with the pipeline's reward");

const selectSchema = z
  .strictObject({
    keep: count.default(1).describe("how many of the best to select"),
    diverse: z.boolean().default(false).describe("select good candidates that differ, rather than the best"),
    minimum: z.number().optional().describe("lowest score that may be selected"),
    per: z.enum(["item", "run"]).default("item").describe("the best of each item, or of the whole run"),
  })
  .describe("select the best");

const refineSchema = z
  .strictObject({
    refiner: z.enum(["evolve", "llm"]).default("evolve"),
    budget: count.default(64).describe("candidates that may be drawn"),
    vocabulary: text.optional().describe("configs/prompts/<name>.yaml or a file: edits to draw on"),
    chat: text.optional().describe("configs/backends/<name>.yaml or a file: the language model of the refiner llm"),
    tokens: z.number().int().min(1).optional().describe("tokens that the language model may use for one prompt"),
    ...settings,
  })
  .describe("search for a prompt whose pictures score better against the original one");

const img2imgSchema = z
  .strictObject({
    count: count.default(4).describe("candidates per selected picture"),
    ...settings,
  })
  .describe("draw again, starting from the selected pictures");

const exportSchema = z
  .strictObject({
    to: text.default("export").describe("folder inside the run's folder"),
    what: z.enum(["selected", "all"]).default("selected"),
    format: z.enum(["files", "jsonl", "csv"]).default("files"),
  })
  .describe("write results for others to use");

/** What each kind of step takes. A step with nothing but defaults may be left empty (`score:`). */
export const STEP_SCHEMAS = {
  generate: generateSchema,
  score: scoreSchema,
  select: selectSchema,
  refine: refineSchema,
  img2img: img2imgSchema,
  export: exportSchema,
} as const;

const steps = {
  generate: generateSchema.nullable().optional(),
  score: scoreSchema.nullable().optional(),
  select: selectSchema.nullable().optional(),
  refine: refineSchema.nullable().optional(),
  img2img: img2imgSchema.nullable().optional(),
  export: exportSchema.nullable().optional(),
};

/** The kinds of steps. */
export const STEP_KINDS = Object.keys(STEP_SCHEMAS) as readonly (keyof typeof STEP_SCHEMAS)[];

const stepSchema = z
  .strictObject(steps)
  .refine((step) => Object.keys(step).length === 1, `expected one step (${STEP_KINDS.join(", ")})`)
  .meta({ minProperties: 1, maxProperties: 1 });

const MEMORY_MODES: readonly MemoryMode[] = ["fast", "balanced", "low"];

/** The training that a pipeline begins with. */
export const trainSchema = z
  .strictObject({
    settings: finetuneSchema.describe("settings of the method, as in configs/training: use takes a file's"),
    model: text.optional().describe("folder in diffusers layout; left out, the model that ships inside"),
    prompts: text.optional().describe("file of prompts to train on; left out, those of the demo world"),
    validationPrompts: text.optional().describe("file of prompts that the validations draw"),
    width: side.optional().describe("pixels"),
    height: side.optional().describe("pixels"),
    memory: z.enum(MEMORY_MODES).default("fast").describe("less memory takes more time"),
  })
  .describe("fine-tune the local model first: the steps draw with what comes of it");

const exportRewardSchema = z
  .strictObject({
    rewards: z
      .record(text, z.number())
      .default({ "image-reward": 1 })
      .describe("rewards with their weights in the sum: image-reward, clip-score, files or folders"),
    to: text.default("reward").describe("folder inside the folder that holds the runs"),
    from: z.enum(["pixels", "image", "latents"]).default("image").describe("what the models begin with"),
    width: side.optional().describe("of the picture, pixels"),
    height: side.optional().describe("of the picture, pixels"),
    batch: count.optional().describe("rows of every run; left out, each run chooses"),
    model: text.optional().describe("folder whose image decoder is used; left out, the model that ships inside"),
    singleFile: z.boolean().default(false).describe("weights inside of each model"),
    force: z.boolean().default(false).describe("replace an earlier export"),
  })
  .describe("write differentiable rewards as plain ONNX");

/** A document that exports a reward, and draws nothing. */
export const exportDocumentSchema = z
  .strictObject({
    version: z.literal(1),
    name: text.optional(),
    description: z.string().optional(),
    variables: z.record(text, z.json()).optional().describe("values for ${name}, changed by --set name=value"),
    "export-reward": exportRewardSchema,
  })
  .describe("An export of Laurel");

export const documentSchema = z
  .strictObject({
    version: z.literal(1),
    name: text.optional().describe("names the run; the file's name if left out"),
    description: z.string().optional(),
    variables: z
      .record(
        z
          .string()
          .regex(/^[A-Za-z_][\w-]*$/, "expected a name of letters, digits, _ and -")
          .refine((name) => !isSecretName(name), "expected no secret: one is named where it is used, by env or file"),
        z.json(),
      )
      .optional()
      .describe("values for ${name}, changed by --set name=value"),
    prompts: promptsSchema,
    template: text
      .default("${prompt}")
      .describe("the prompt that is drawn, from ${prompt}, ${item.<column>} and ${matrix.<name>}"),
    matrix: z
      .record(text, z.array(scalar).min(1))
      .optional()
      .describe("every combination is an item; names of settings set them, others are for templates"),
    settings: settingsSchema.optional().describe("for every step that draws"),
    backend: z
      .union([text, backendConfigSchema])
      .default("local")
      .describe(`${BACKEND_KINDS.join(", ")}, a name or path of a configuration, or the configuration itself`),
    reward: z
      .strictObject({
        model: text.optional().describe("ImageReward file or folder; the model that ships inside if left out"),
        rewards: z
          .record(
            text,
            z.union([
              z.number().describe("weight in the sum"),
              z.strictObject({
                weight: z.number().default(1),
                mean: z.number().optional().describe("of its scores; what the reward knows of itself if left out"),
                std: z.number().positive().optional().describe("of its scores"),
              }),
            ]),
          )
          .optional()
          .describe("instead of model: names, files or folders; several are summed as weight * (score - mean) / std"),
        heldOut: z
          .array(text)
          .min(1)
          .optional()
          .describe("rewards that score every candidate, are reported, and choose nothing"),
      })
      .refine(
        ({ model, rewards }) => model === undefined || rewards === undefined,
        "expected model or rewards, got both",
      )
      .optional()
      .describe("what chooses among candidates, and what watches"),
    seed: z
      .number()
      .int()
      .min(0)
      .max(2 ** 32 - 2)
      .optional()
      .describe("of the first candidate of every item; random if left out"),
    seeds: z
      .enum(["shared", "distinct"])
      .default("shared")
      .describe("the same seeds for every item, for paired comparison, or others for each"),
    concurrency: z
      .strictObject({ items: z.number().int().min(1).max(1000).optional().describe("items under way at once") })
      .optional(),
    budget: z
      .strictObject({
        candidates: z.number().int().min(1).optional(),
        evaluations: z.number().int().min(1).optional().describe("of the denoiser"),
        seconds: z.number().positive().optional(),
      })
      .optional()
      .describe("for the whole run: no item begins once it is spent"),
    out: text.optional().describe("folder that holds the runs"),
    train: trainSchema.optional(),
    steps: z.array(stepSchema).min(1),
  })
  .describe("A pipeline of Laurel");

/** A pipeline as its YAML says it, with defaults filled in. */
export type PipelineDocument = z.infer<typeof documentSchema>;
