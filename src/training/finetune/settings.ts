/** @file Settings of a fine-tuning run: one document per method, `configs/training/{refl,draft,dpo,sft}.yaml`. */

import { z } from "zod";
import { SAMPLER_NAMES } from "../../samplers/names.js";
import { readLocated } from "../../util/yaml/parse.js";
import { validateLocated } from "../../util/yaml/validate.js";
import { DEFAULT_GUARDS } from "./guards.js";
import { FINETUNE_METHODS, type FinetuneMethod } from "./methods.js";

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

const schedule = z.strictObject({
  type: z.enum(["cosine", "constant"]).default("constant").describe("How the learning rate goes after the warm-up."),
  learningRate: positive.describe("The highest learning rate."),
  warmupSteps: z.int().nonnegative().default(0).describe("Updates of linear warm-up from 0."),
  coolDown: share
    .default(0)
    .describe("constant: share of all updates, at the end, over which the rate falls to the floor."),
  floor: share.default(0).describe("The rate at the end, as a share of the highest."),
});

const optimizer = z
  .strictObject({
    schedule,
    beta1: share.default(0.9).describe("AdamW's decay of the first moment."),
    beta2: share.default(0.999).describe("AdamW's decay of the second moment."),
    epsilon: positive.default(1e-8).describe("AdamW's epsilon."),
    weightDecay: z.number().nonnegative().default(0.01).describe("Decoupled weight decay of matrices and kernels."),
    clipNorm: positive.nullable().default(1).describe("Largest global norm of the gradient; null does not clip."),
    averageDecay: share
      .nullable()
      .default(null)
      .describe("Decay of the moving average that is kept as the result; null keeps the last parameters."),
  })
  .describe("AdamW.");

/** `attn2.to_q`, `to_*`, `down_blocks.*.conv1`: the end of a module's path. */
const pattern = z.string().regex(/^[\w.*]+$/, "expected the end of a module's path, with * for any characters");

const ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"];
const TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"];

const train = z
  .discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("lora"),
      rank: count.default(4).describe("Rows of A and columns of B."),
      alpha: positive
        .nullable()
        .default(null)
        .describe("The low-rank term is scaled by alpha / rank; null means the rank."),
      targets: z
        .array(pattern)
        .min(1)
        .default(ATTENTION)
        .describe("Modules of the UNet, by the end of their path; linear and convolution."),
      textEncoder: z
        .array(pattern)
        .min(1)
        .nullable()
        .default(null)
        .describe(`Modules of the text encoder (for example ${TEXT_ATTENTION.join(", ")}); null leaves it as it is.`),
    }),
    z.strictObject({
      kind: z.literal("full"),
      textEncoder: z.boolean().default(false).describe("All weights of the text encoder as well."),
    }),
  ])
  .prefault({ kind: "lora" })
  .describe("What is trained: low-rank terms, or all weights.");

const samplingFields = z.strictObject({
  sampler: z.enum(SAMPLER_NAMES).default("ddpm").describe("Sampler of the training trajectories."),
  steps: count.default(40).describe("Its steps."),
  guidance: z
    .number()
    .nonnegative()
    .default(1)
    .describe("Guidance scale in training; 1 leaves guidance out, at half the evaluations."),
});
const sampling = (usual: z.input<typeof samplingFields>) =>
  samplingFields.prefault(usual).describe("How pictures are drawn for the gradient.");

const guards = z
  .strictObject({
    every: count.default(25).describe("Updates between validations."),
    prompts: count.default(16).describe("Prompts of a validation."),
    imagesPerPrompt: count.default(4).describe("Pictures of each, always from the same seeds."),
    seed: z.int().nonnegative().default(90_000).describe("Seed of the first validation picture."),
    alarm: z.boolean().default(DEFAULT_GUARDS.alarm).describe("An alarm stops the run; false tells it and goes on."),
    standardErrors: positive
      .nullable()
      .default(DEFAULT_GUARDS.standardErrors)
      .describe(
        "Standard errors of the paired differences by which a held-out reward must not fall; null does not look.",
      ),
    diversityFloor: share
      .nullable()
      .default(DEFAULT_GUARDS.diversityFloor)
      .describe("Least diversity, as a share of the base model's; null does not look."),
    divergenceLimit: positive
      .nullable()
      .default(DEFAULT_GUARDS.divergenceLimit)
      .describe(
        "Mean squared distance to the base's noise predictions above which there is a warning; null does not look.",
      ),
    keepBest: z
      .boolean()
      .default(true)
      .describe("The result is the best checkpoint by the guards; false keeps the last."),
  })
  .nullable()
  .prefault({})
  .describe("What watches over the run; null leaves all of it out.");

const common = {
  steps: count.describe("Updates."),
  batchSize: count.default(4).describe("Samples of a gradient."),
  accumulate: count.default(1).describe("Gradients averaged to an update."),
  seed: z.int().nonnegative().default(1).describe("Seed of start values, prompts and noise."),
  optimizer,
  train,
  guards,
  checkpointEvery: count.default(25).describe("Updates between checkpoints."),
};

const heldOut = z
  .array(z.string().min(1))
  .default(["clip-score"])
  .describe("Rewards the training never sees, for the guards: names, files or folders.");

const rewards = z
  .record(z.string().min(1), positive)
  .refine((given) => Object.keys(given).length > 0, "expected at least one reward")
  .default({ "image-reward": 1 })
  .describe("Rewards that guide the training, with their weights: names, files or folders.");

const trainGuidance = z
  .number()
  .nonnegative()
  .default(1)
  .describe(
    "Guidance scale of the prediction that learns, at twice the evaluations; 1 leaves guidance out. Pictures drawn with guidance are learnt rightly with the same.",
  );

const promptDropout = share
  .default(0.1)
  .describe("Share of pictures that are learnt without their prompt, for guidance.");

const drawnGuidance = z
  .number()
  .nonnegative()
  .default(1)
  .describe(
    "Guidance scale of pictures of the base model. 1 draws what the denoiser itself holds likely; learnt from pictures drawn with guidance, guidance counts twice.",
  );

const pretrainFields = z.strictObject({
  every: count.default(1).describe("Updates between two of its steps."),
  batchSize: count.default(8).describe("Pictures of a step."),
  images: z
    .string()
    .nullable()
    .default(null)
    .describe("Folder of pictures with prompts; null takes pictures of the base model itself."),
  drawn: count.default(128).describe("How many pictures of the base model."),
  guidance: z
    .number()
    .nonnegative()
    .default(1)
    .describe("Guidance scale of the pictures of the base model, and of the prediction that learns them."),
  rate: positive.default(1).describe("Its learning rate as a multiple of the run's."),
  promptDropout,
});
const pretrain = (usual: z.input<typeof pretrainFields> | null) =>
  pretrainFields
    .nullable()
    .prefault(usual)
    .describe(
      "The paper's pre-training loss, noise prediction on a reference set, as an optimizer step of its own; null leaves it out.",
    );

/** Pictures of the base model as training data, where no set is given. */
const drawn = z
  .strictObject({
    prompts: count.default(64).describe("Prompts."),
    imagesPerPrompt: count.default(8).describe("Pictures of each."),
    guidance: drawnGuidance,
  })
  .prefault({})
  .describe("Pictures of the base model, scored by the guide, where no set is given.");

const settings = z.discriminatedUnion("method", [
  z.strictObject({
    method: z.literal("refl").describe("Reward feedback learning (arXiv 2304.05977)."),
    ...common,
    rewards,
    heldOut,
    sampling: sampling({}),
    margin: z.number().default(2).describe("The loss is relu(margin - reward) * scale."),
    scale: positive.default(1e-3).describe("Factor of the loss; AdamW makes it nearly irrelevant, clipping does not."),
    from: share
      .default(0.75)
      .describe("The step that is differentiated is drawn from this share of the trajectory to its end."),
    pretrain: pretrain({}),
  }),
  z.strictObject({
    method: z.literal("draft").describe("The reward's gradient through the last sampler steps (arXiv 2309.17400)."),
    ...common,
    rewards,
    heldOut,
    sampling: sampling({ sampler: "ddim", steps: 20 }),
    lastSteps: count.default(1).describe("Sampler steps the gradient goes through."),
    truncation: z
      .enum(["fixed", "random"])
      .default("fixed")
      .describe("random: a number from 1 to lastSteps for each update (AlignProp, arXiv 2310.03739)."),
    lowVariance: z
      .int()
      .nonnegative()
      .default(0)
      .describe(
        "DRaFT-LV: so many fresh noisings of each clean sample, differentiated at the last step; 0 leaves it out.",
      ),
    pretrain: pretrain(null),
  }),
  z.strictObject({
    method: z.literal("dpo").describe("Diffusion-DPO on preference pairs (arXiv 2311.12908)."),
    ...common,
    rewards,
    heldOut,
    guidance: trainGuidance,
    beta: positive.default(5000).describe("How hard the model is held to the base; larger is harder."),
    pairs: z
      .string()
      .nullable()
      .default(null)
      .describe(
        "Preference pairs (parquet, imagefolder or jsonl); null draws pictures of the base and pairs them by score.",
      ),
    drawn,
    margin: z.number().nonnegative().default(0.5).describe("Least difference of the scores of a drawn pair."),
  }),
  z.strictObject({
    method: z.literal("sft").describe("Noise prediction on pictures."),
    ...common,
    rewards,
    heldOut,
    images: z
      .string()
      .nullable()
      .default(null)
      .describe("Folder of pictures with prompts; null takes pictures of the base model."),
    drawn,
    guidance: trainGuidance,
    select: z
      .enum(["plain", "filtered", "weighted"])
      .default("filtered")
      .describe("All pictures alike; only the best of each prompt; or all, weighted by reward."),
    keep: share.default(0.25).describe("filtered: share of each prompt's pictures that is kept."),
    promptDropout,
    temperature: positive
      .default(0.5)
      .describe("weighted: weights are exp(score / temperature), normalised to a mean of 1."),
  }),
]);

/** Settings of one method, complete. */
export type FinetuneSettings = z.infer<typeof settings>;

/** Settings of one method. */
export type SettingsOf<M extends FinetuneMethod> = Extract<FinetuneSettings, { method: M }>;

/** Settings of the guards. */
export type ValidationSettings = NonNullable<FinetuneSettings["guards"]>;

/** The schema of the documents, for editors. */
export const finetuneSchema = settings;

/** The shipped settings of a method. */
export function defaultFinetunePath(method: FinetuneMethod): URL {
  return new URL(`../../../configs/training/${method}.yaml`, import.meta.url);
}

/** Reads a YAML or JSON document. @throws UsageError when it cannot be read, DocumentError with every fault and its line and column */
export async function readFinetuneSettings(path: string): Promise<FinetuneSettings> {
  return validateLocated(settings, await readLocated(path));
}

export { FINETUNE_METHODS, type FinetuneMethod };
