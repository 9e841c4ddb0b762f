/** @file A single-file checkpoint as a model: configurations inferred or lying beside it, its scheduler, and a tokenizer. */

import { basename, dirname, extname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { parseSchedulerConfig, parseSchedulerText, type SchedulerConfig } from "../samplers/scheduler-config.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import { openStandardClipTokenizer } from "../tokenizers/clip-standard.js";
import { parseJson, readTextIfThere } from "../util/read-file.js";
import { readSingleFile, type SingleFile } from "../weights/layouts/single-file.js";
import { openWeights } from "../weights/open.js";
import type { WeightSource } from "../weights/types.js";
import { type ModelComponent, type ModelFolder, type ModelFolderOptions, withPrediction } from "./model-folder.js";
import { autoencoderConfigOf, type InferredConfig, textConfigOf, unetConfigOf } from "./single-file-configs.js";

type PredictionType = SchedulerConfig["prediction_type"];

/** The variant that stands for the denoiser's moving averages. */
const EMA = "ema";

/** Fields that a configuration beside the file must share with it. */
const TELLING = ["in_channels", "latent_channels", "block_out_channels", "cross_attention_dim", "hidden_size", "num_hidden_layers", "vocab_size"]; // prettier-ignore

/** The betas of all Stable Diffusions. */
const BETAS = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear", num_train_timesteps: 1000 };
const PNDM = {
  _class_name: "PNDMScheduler",
  ...BETAS,
  skip_prk_steps: true,
  set_alpha_to_one: false,
  clip_sample: false,
};
const EULER = {
  _class_name: "EulerDiscreteScheduler",
  ...BETAS,
  timestep_spacing: "leading",
  use_karras_sigmas: false,
};

/**
 * Reads a single-file checkpoint; nothing of the weights is read yet. Where `unet/config.json` and the like of the same model lie beside it (as in
 * the published repositories), they say what its tensors do not.
 * @throws ModelError for a file of another kind, one that lacks a component, or a variant that it does not have
 */
export async function readSingleFileModel(path: string, options: ModelFolderOptions = {}): Promise<ModelFolder> {
  const file = resolve(path);
  const { variant, prediction } = options;
  if (variant !== undefined && variant !== EMA) {
    throw new ModelError(`${file}: expected the variant ${EMA}, which alone a single file can have, got ${variant}`);
  }
  const source = await openWeights(file);
  const parts = readSingleFile(source, { ema: variant === EMA });
  const { family } = parts;
  const warnings: string[] = [];
  const beside = await readBeside(file, parts, warnings);
  const scheduler = await schedulerOf(file, source, parts, { beside: beside.agrees, prediction, warnings });
  const side = sampleSizeOf(parts, source, scheduler);
  const weights: Readonly<Record<ModelComponent, WeightSource | undefined>> = {
    text_encoder: parts.textEncoder,
    text_encoder_2: parts.textEncoder2,
    unet: parts.unet,
    vae: parts.vae,
  };
  const pipeline = family === "sdxl" ? "StableDiffusionXLPipeline" : "StableDiffusionPipeline";
  return {
    directory: file,
    name: basename(file, extname(file)),
    pipeline,
    index: { _class_name: pipeline, ...(family === "sdxl" ? { force_zeros_for_empty_prompt: true } : {}) },
    scheduler: family === "sdxl" ? scheduler : { ...scheduler, steps_offset: 1 },
    configs: { ...beside.configs, unet: { sample_size: side, ...(beside.configs.unet as object) } },
    stated: {},
    warnings,
    whereOf: (component) => `${file} (${component})`,
    openWeights: async (component) => {
      const found = weights[component];
      if (found === undefined) throw new ModelError(`${file}: expected a ${component}, got a model without`);
      return Promise.resolve(found);
    },
    openTokenizer: (component) => openTokenizer(file, parts, component),
  };
}

interface Configs {
  readonly configs: Readonly<Record<ModelComponent, unknown>>;
  /** What lies beside the file is its own. */
  readonly agrees: boolean;
}

/** The configurations of all components, completed by what lies beside the file. */
async function readBeside(file: string, parts: SingleFile, warnings: string[]): Promise<Configs> {
  const { family, textEncoder, textEncoder2 } = parts;
  let agrees = true;
  const complete = async (component: ModelComponent, inferred: InferredConfig): Promise<unknown> => {
    const { decided, presumed } = inferred;
    const path = join(dirname(file), component, "config.json");
    const text = await readTextIfThere(path, { expected: "a configuration" });
    const json = text === undefined ? undefined : parseJson(text, path);
    if (json === undefined) return { ...presumed, ...decided };
    const fields = (typeof json === "object" ? json : {}) as Record<string, unknown>;
    const other = TELLING.find((field) => {
      const here = decided[field];
      return (
        here !== undefined && fields[field] !== undefined && JSON.stringify(fields[field]) !== JSON.stringify(here)
      );
    });
    if (other === undefined) return { ...presumed, ...fields, ...decided };
    agrees = false;
    const [theirs, own] = [JSON.stringify(fields[other]), JSON.stringify(decided[other])];
    warnings.push(`${path}: not used, since it is of another model than ${basename(file)} (${other}: ${theirs}, not ${own})`); // prettier-ignore
    return { ...presumed, ...decided };
  };
  const configs = {
    text_encoder: await complete("text_encoder", textConfigOf(textEncoder, family === "sd2")),
    text_encoder_2:
      textEncoder2 === undefined ? undefined : await complete("text_encoder_2", textConfigOf(textEncoder2, true)),
    unet: await complete("unet", unetConfigOf(parts)),
    vae: await complete("vae", autoencoderConfigOf(parts)),
  };
  return { configs, agrees };
}

interface SchedulerOptions {
  /** The one that lies beside the file is its own. */
  readonly beside: boolean;
  readonly prediction: PredictionType | undefined;
  readonly warnings: string[];
}

/** What is asked for, else beside the file, else in its metadata or keys, else what the family has. */
async function schedulerOf(
  file: string,
  source: WeightSource,
  parts: SingleFile,
  { beside, prediction, warnings }: SchedulerOptions,
): Promise<SchedulerConfig> {
  const path = join(dirname(file), "scheduler", "scheduler_config.json");
  const text = beside ? await readTextIfThere(path, { expected: "the sampler's configuration" }) : undefined;
  if (text !== undefined) {
    return withPrediction(parseSchedulerText(text, path), prediction);
  }
  const type = prediction ?? predictionOf(source);
  // only the 512 pixel base and the inpainting model of the family predict noise, and nothing in their tensors tells the first from the others
  const presumed = parts.family === "sd2" && !isInpainting(parts) ? "v_prediction" : "epsilon";
  if (type === undefined && presumed !== "epsilon") {
    warnings.push(
      `${file}: nothing in it tells what its denoiser predicts; velocity is presumed, as of Stable Diffusion 2.x at 768 pixels; for a model at 512 (2-base, SD-Turbo) give --prediction epsilon`,
    );
  }
  // models that learnt on a schedule that ends in noise alone say so by an empty tensor of this name
  const zero = source.entries.has("ztsnr") ? { rescale_betas_zero_snr: true, timestep_spacing: "trailing" } : {};
  const base = parts.family === "sdxl" ? EULER : PNDM;
  const kind = parts.family === "sdxl" || !source.entries.has("ztsnr") ? base : { ...EULER };
  return parseSchedulerConfig({ ...kind, prediction_type: type ?? presumed, ...zero }, file);
}

/** What the file itself says its denoiser predicts: in the metadata of Stability's model specification, or by a tensor named for it. */
function predictionOf({ metadata, entries, unusable }: WeightSource): PredictionType | undefined {
  const stated = metadata.get("modelspec.prediction_type") ?? "";
  if (/^v(_prediction)?$/.test(stated) || entries.has("v_pred") || unusable.has("v_pred")) return "v_prediction";
  if (stated === "epsilon") return "epsilon";
  const architecture = metadata.get("modelspec.architecture") ?? "";
  if (/^stable-diffusion-v2-768-v/.test(architecture)) return "v_prediction";
  return /^stable-diffusion-v(1|2-512)/.test(architecture) ? "epsilon" : undefined;
}

function isInpainting({ unet, vae }: SingleFile): boolean {
  const latent = vae.entries.get("decoder.conv_in.weight")?.shape[1] ?? 4;
  return unet.entries.get("conv_in.weight")?.shape[1] === 2 * latent + 1;
}

/** Side of the latents the model was trained on: as its metadata has it, else as the published models of its family. */
function sampleSizeOf(parts: SingleFile, { metadata }: WeightSource, { prediction_type }: SchedulerConfig): number {
  const [, width, height] = /^(\d{2,4})x(\d{2,4})$/.exec(metadata.get("modelspec.resolution") ?? "") ?? [];
  if (width !== undefined && width === height && Number(width) % 8 === 0) return Number(width) / 8;
  if (parts.family === "sdxl") return 128;
  return parts.family === "sd2" && prediction_type === "v_prediction" ? 96 : 64;
}

/** `tokenizer/` or `tokenizer_2/` beside the file, else CLIP's own vocabulary: all these models were trained with it. OpenCLIP pads with "!". */
async function openTokenizer(file: string, { family }: SingleFile, component: "text_encoder" | "text_encoder_2") {
  const folder = join(dirname(file), component.replace("text_encoder", "tokenizer"));
  const options = { expected: "a tokenizer's vocabulary" };
  for (const name of ["vocab.json", "tokenizer.json"]) {
    if ((await readTextIfThere(join(folder, name), options)) !== undefined) return openClipTokenizer(folder);
  }
  return openStandardClipTokenizer(family === "sd2" || component === "text_encoder_2" ? "!" : undefined);
}
