/** @file A model's parts wherever they lie: what it says about itself, its configurations, weights and tokenizers, and Laurel's own defaults. */

import { basename, join, resolve } from "node:path";
import { z } from "zod";
import { ModelError } from "../errors.js";
import { SAMPLER_NAMES, samplerOfConfig } from "../samplers/sampler.js";
import { parseSchedulerText, type SchedulerConfig } from "../samplers/scheduler-config.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import { parseJson, readText, readTextIfThere } from "../util/read-file.js";
import { findComponentWeights } from "../weights/component.js";
import { openWeights } from "../weights/open.js";
import type { WeightSource } from "../weights/types.js";
import { isOnnxFolder, noWeights } from "./onnx-folder.js";
import type { DiffusionDefaults } from "./request.js";

/** A part with weights. Only some models have a second text encoder. */
export type ModelComponent = "text_encoder" | "text_encoder_2" | "unet" | "vae";

/** A model's own account of itself and the way to its parts; nothing of the weights is read yet. */
export interface ModelFolder {
  /** Folder or file, absolute. */
  readonly directory: string;
  readonly name: string;
  /** The pipeline it was saved from. */
  readonly pipeline: string;
  /** Content of `model_index.json`: components, and the pipeline's own settings. */
  readonly index: Readonly<Record<string, unknown>>;
  readonly scheduler: SchedulerConfig;
  /** Content of the components' `config.json`; `text_encoder_2` is undefined for models with one text encoder. */
  readonly configs: Readonly<Record<ModelComponent, unknown>>;
  /** What `laurel.json` states. */
  readonly stated: StatedDefaults;
  /** What was noticed so far; opening weights may add to it. */
  readonly warnings: readonly string[];
  /** It was exported to ONNX: its parts are whole networks, whose weights are not read. @default false */
  readonly isOnnx?: boolean;
  /** Where a component's configuration was read, for messages. */
  whereOf(component: ModelComponent): string;
  /** The tensors of a component under the names that diffusers and transformers give them. @throws ModelError when it has none */
  openWeights(component: ModelComponent): Promise<WeightSource>;
  /** The tokenizer of a text encoder. @throws ModelError when there is none, or it is damaged */
  openTokenizer(component: "text_encoder" | "text_encoder_2"): Promise<DescribedTokenizer>;
}

/** How a model is read. */
export interface ModelFolderOptions {
  /**
   * Variant of the weights (`fp16`), for each component that has it; the others are read as they are, with a warning. A single file may have `ema`,
   * the denoiser's moving averages.
   */
  readonly variant?: string | undefined;
  /** What the denoiser predicts. @default what the scheduler's configuration says; for a single file, what it says or its family has */
  readonly prediction?: SchedulerConfig["prediction_type"] | undefined;
}

const count = z.number().int().positive();
const LAUREL_JSON = z.strictObject({
  name: z.string().min(1).optional(),
  sampler: z.enum(SAMPLER_NAMES).optional(),
  steps: count.optional(),
  guidance: z.number().nonnegative().optional(),
  eta: z.number().min(0).max(1).optional(),
  width: count.optional(),
  height: count.optional(),
  batch: count.optional(),
});

/** Content of `laurel.json`: the settings a model is meant to be used with. */
export type StatedDefaults = z.infer<typeof LAUREL_JSON>;

/** Components that a Stable Diffusion must have, with the only class each may be of. */
const COMPONENTS: Readonly<Partial<Record<ModelComponent, string>>> = {
  text_encoder: "CLIPTextModel",
  unet: "UNet2DConditionModel",
  vae: "AutoencoderKL",
};
/** What an XL must have beside them. */
const XL_COMPONENTS: Readonly<Partial<Record<ModelComponent, string>>> = {
  text_encoder_2: "CLIPTextModelWithProjection",
};

/** What a component is to a reader of messages. */
const TITLES: Readonly<Record<ModelComponent, string>> = {
  text_encoder: "the text encoder's configuration",
  text_encoder_2: "the second text encoder's configuration",
  unet: "the denoiser's configuration",
  vae: "the autoencoder's configuration",
};

/**
 * Reads a diffusers folder.
 * @throws ModelError when a file is missing or not JSON, or the folder holds another kind of pipeline
 */
export async function readModelFolder(directory: string, options: ModelFolderOptions = {}): Promise<ModelFolder> {
  const root = resolve(directory);
  const indexPath = join(root, "model_index.json");
  const index = await readJsonObject(indexPath, "a diffusers folder (model_index.json)");
  const isOnnx = await isOnnxFolder(root);
  const pipeline = isOnnx ? pipelineOfOnnx(index, indexPath) : checkComponents(index, indexPath);
  const schedulerPath = join(root, "scheduler", "scheduler_config.json");
  const whereOf = (component: ModelComponent): string =>
    join(root, isOnnx && component === "vae" ? "vae_decoder" : component, "config.json");
  const config = (component: ModelComponent): Promise<unknown> => readJsonObject(whereOf(component), TITLES[component]);
  const [scheduler, textEncoder, textEncoder2, unet, vae, stated] = await Promise.all([
    readText(schedulerPath, { expected: "the sampler's configuration" }).then((text) =>
      withPrediction(parseSchedulerText(text, schedulerPath), options.prediction),
    ),
    config("text_encoder"),
    hasComponent(index, "text_encoder_2") ? config("text_encoder_2") : undefined,
    config("unet"),
    config("vae"),
    readStated(join(root, "laurel.json")),
  ]);
  const warnings: string[] = [];
  if (samplerOfConfig(scheduler) === undefined && stated.sampler === undefined && scheduler.className !== undefined) {
    warnings.push(
      `${basename(root)}: its scheduler ${scheduler.className} is not among the samplers; dpmpp-2m is the default instead`,
    );
  }
  if (hasComponent(index, "safety_checker")) warnings.push(safetyWarning(root));
  return {
    directory: root,
    isOnnx,
    name: stated.name ?? basename(root),
    pipeline,
    index,
    scheduler: isXl({ pipeline }) ? scheduler : { ...scheduler, steps_offset: 1 },
    configs: { text_encoder: textEncoder, text_encoder_2: textEncoder2, unet, vae },
    stated,
    warnings,
    whereOf,
    async openWeights(component) {
      if (isOnnx) throw new ModelError(noWeights(root));
      const found = await findComponentWeights(join(root, component), options);
      for (const warning of found.warnings) if (!warnings.includes(warning)) warnings.push(warning);
      return openWeights(found.path);
    },
    openTokenizer: (component) => openClipTokenizer(join(root, component.replace("text_encoder", "tokenizer"))),
  };
}

/**
 * Laurel does not run the safety checker: it is a classifier of pictures that may be unsafe, which blackens what it suspects, and a run would end
 * with candidates that are black for no reason of the prompt's.
 */
function safetyWarning(root: string): string {
  return `${basename(root)}: its safety checker is not run: look at pictures before you publish or serve them (see docs/architectures.md)`;
}

/** The scheduler for what the denoiser is said to predict. */
export function withPrediction(
  scheduler: SchedulerConfig,
  prediction: ModelFolderOptions["prediction"],
): SchedulerConfig {
  return prediction === undefined ? scheduler : { ...scheduler, prediction_type: prediction };
}

/** Whether `model_index.json` names a component; `[null, null]` stands for one that was left out. */
export function hasComponent(index: Readonly<Record<string, unknown>>, name: string): boolean {
  const entry = index[name];
  return Array.isArray(entry) && typeof entry[1] === "string";
}

/**
 * What the reference pipelines make of any scheduler they are given: files from before these fields were written get the values Stable Diffusion
 * was trained for, all of them `steps_offset` 1, and `clip_sample` false, which the inpainting pipeline and that of latent consistency models take
 * as the file has it. Those of XL take all of the file as it is. Source: StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline and
 * LatentConsistencyModelPipeline, `__init__`, diffusers v0.38.0.
 */
export function schedulerFor({ scheduler, pipeline }: ModelFolder, inpainting: boolean): SchedulerConfig {
  return inpainting || pipeline === LATENT_CONSISTENCY || isXl({ pipeline })
    ? scheduler
    : { ...scheduler, clip_sample: false };
}

const LATENT_CONSISTENCY = "LatentConsistencyModelPipeline";

/** A Stable Diffusion XL: two text encoders, whose pooled text and the picture's sizes are added to the timestep. */
export function isXl({ pipeline }: Pick<ModelFolder, "pipeline">): boolean {
  return pipeline.startsWith("StableDiffusionXL");
}

/**
 * A model that draws in one step without guidance (SD-Turbo, SDXL-Turbo): its scheduler is one of Euler's, which predicts noise at trailing timesteps.
 * Such timesteps are otherwise those of models with velocity prediction and a schedule that ends in noise alone, which are none.
 */
export function isTurbo({ scheduler }: Pick<ModelFolder, "scheduler">): boolean {
  const euler = ["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"];
  return (
    euler.includes(scheduler.className ?? "") &&
    scheduler.timestep_spacing === "trailing" &&
    scheduler.prediction_type === "epsilon" &&
    !scheduler.rescale_betas_zero_snr
  );
}

/** Steps and guidance that a kind of model is used with. */
function commonSettings(folder: ModelFolder): { readonly steps: number; readonly guidance: number } {
  if (folder.pipeline === LATENT_CONSISTENCY) return { steps: 4, guidance: 8.5 };
  if (isTurbo(folder)) return { steps: 1, guidance: 1 };
  return isXl(folder) ? { steps: 30, guidance: 5 } : { steps: 20, guidance: 7.5 };
}

/** The settings to use where a request says nothing: `laurel.json`, else the scheduler, the denoiser's size and common values. */
export function defaultsOf(folder: ModelFolder, nativeSize: { width: number; height: number }): DiffusionDefaults {
  const { stated, scheduler } = folder;
  const common = commonSettings(folder);
  return {
    sampler: stated.sampler ?? samplerOfConfig(scheduler) ?? "dpmpp-2m",
    steps: stated.steps ?? common.steps,
    guidance: stated.guidance ?? common.guidance,
    eta: stated.eta ?? 0,
    width: stated.width ?? nativeSize.width,
    height: stated.height ?? nativeSize.height,
    batch: stated.batch ?? (nativeSize.width * nativeSize.height <= 128 * 128 ? 8 : 1),
  };
}

/** The pipelines that such a folder may have been saved from; all of them can do what its denoiser can. */
export const PIPELINES: readonly string[] = [
  "StableDiffusionPipeline",
  "StableDiffusionImg2ImgPipeline",
  "StableDiffusionInpaintPipeline",
  LATENT_CONSISTENCY,
  "StableDiffusionXLPipeline",
  "StableDiffusionXLImg2ImgPipeline",
  "StableDiffusionXLInpaintPipeline",
];

/** The pipeline of a class. @throws ModelError when it is not a Stable Diffusion */
function pipelineOf(className: unknown, where: string): string {
  const pipeline = PIPELINES.find((name) => name === className);
  if (pipeline !== undefined) return pipeline;
  throw new ModelError(
    `${where}: _class_name: expected ${PIPELINES.slice(0, -1).join(", ")} or ${PIPELINES.at(-1)!}, got ${JSON.stringify(className)}`,
  );
}

/** The pipeline that a folder of ONNX files was exported from; the classes of its components are those of whatever wrote it. */
function pipelineOfOnnx(index: Record<string, unknown>, where: string): string {
  const className = index["_class_name"];
  return pipelineOf(typeof className === "string" ? className.replace(/^(ORT|Onnx)/, "") : className, where);
}

/** The pipeline's class. @throws ModelError when the pipeline is not a Stable Diffusion, or a component is missing or of another class. */
function checkComponents(index: Record<string, unknown>, where: string): string {
  const pipeline = pipelineOf(index["_class_name"], where);
  const problems: string[] = [];
  const needed = isXl({ pipeline }) ? { ...COMPONENTS, ...XL_COMPONENTS } : COMPONENTS;
  for (const [component, expected] of Object.entries(needed)) {
    const entry = index[component];
    const actual: unknown = Array.isArray(entry) ? entry[1] : entry;
    if (actual !== expected)
      problems.push(`${component}: expected ${expected}, got ${JSON.stringify(actual ?? "none")}`);
  }
  if (problems.length > 0) throw new ModelError(`${where}: ${problems.join("; ")}`);
  return pipeline;
}

async function readStated(path: string): Promise<StatedDefaults> {
  const text = await readTextIfThere(path, { expected: "sampling defaults" });
  if (text === undefined) return {};
  const result = LAUREL_JSON.safeParse(parseJson(text, path));
  if (result.success) return result.data;
  const issues = result.error.issues.map((issue) =>
    [issue.path.join("."), issue.message].filter((part) => part !== "").join(": "),
  );
  throw new ModelError(`${path}: expected sampling defaults, got ${issues.join("; ")}`);
}

async function readJsonObject(path: string, expected: string): Promise<Record<string, unknown>> {
  const json = parseJson(await readText(path, { expected }), path);
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new ModelError(`${path}: expected an object, got ${Array.isArray(json) ? "an array" : String(json)}`);
  }
  return json as Record<string, unknown>;
}
