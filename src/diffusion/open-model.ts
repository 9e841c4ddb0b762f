/** @file Opening a diffusers folder: what it says is read and checked; no weight is loaded and nothing is compiled yet. */

import { join } from "node:path";
import { ModelError } from "../errors.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import type { Device } from "../runtime/device.js";
import { SAMPLER_NAMES } from "../samplers/sampler.js";
import { InitEncoder } from "./init-encoder.js";
import { LoraStore } from "./lora.js";
import { defaultsOf, type ModelFolder, readModelFolder } from "./model-folder.js";
import type { NetworkConfigs } from "./networks.js";
import {
  decoderGraph,
  denoiserGraph,
  readNetworkConfigs,
  resolveNetworkWeights,
  textEncoderGraph,
} from "./networks.js";
import { DiffusionPrograms } from "./programs.js";
import type { DiffusionDefaults, SettingLimits, SizeRule } from "./request.js";
import { TextConditioner } from "./text-conditioning.js";

/** Largest side in pixels. */
const MAX_SIDE = 2048;

/** What an open model is made of. */
export interface ModelParts {
  readonly folder: ModelFolder;
  readonly configs: NetworkConfigs;
  readonly defaults: DiffusionDefaults;
  readonly limits: SettingLimits & { readonly size: SizeRule };
  readonly programs: DiffusionPrograms;
  readonly text: TextConditioner;
  readonly loras: LoraStore;
  readonly initEncoder: InitEncoder;
}

/** Opens the parts of a folder. @throws ModelError when the folder is incomplete, damaged or of another kind */
export async function openModelParts(directory: string, device: Device): Promise<ModelParts> {
  const folder = await readModelFolder(directory);
  const configs = readNetworkConfigs(folder);
  const tokenizer = await folder.openTokenizer("text_encoder");
  const length = tokenizer.maxLength;
  const { maxPositions, vocabulary } = configs.text;
  if (length > maxPositions || tokenizer.vocabularySize > vocabulary) {
    throw new ModelError(
      `${folder.directory}: tokenizer: expected at most ${maxPositions} tokens of ${vocabulary} (text_encoder/config.json), got ${length} of ${tokenizer.vocabularySize}`,
    );
  }
  const { factor, native } = configs;
  const defaults = defaultsOf(folder, { width: native.width * factor, height: native.height * factor });
  const rule: SizeRule = { multiple: factor, minimum: factor, maximum: MAX_SIDE };
  checkStatedSize(folder, defaults, rule);
  const size = { width: defaults.width / factor, height: defaults.height / factor };
  const graphs = {
    text: textEncoderGraph(configs.text, length),
    denoiser: denoiserGraph(configs.unet, size, length),
    decoder: decoderGraph(configs.autoencoder, size),
  };
  const weights = await resolveNetworkWeights(folder, graphs);
  const programs = new DiffusionPrograms(device, { configs, weights, window: length, graphs, size });
  const text = new TextConditioner(tokenizer, (variant, loras) => programs.text(variant, loras), configs.text.width);
  const { inpainting } = configs;
  const limits = {
    textToImage: !inpainting,
    imageToImage: !inpainting,
    inpainting: true,
    samplers: SAMPLER_NAMES,
    size: rule,
    promptSyntaxes: PROMPT_SYNTAXES,
    clipSkip: configs.text.layers,
    embeddings: true,
    loras: true,
    distilledGuidance: configs.unet.timeConditionWidth !== undefined,
  };
  const initEncoder = new InitEncoder(device, folder, configs);
  return { folder, configs, defaults, limits, programs, text, loras: new LoraStore(configs, length), initEncoder };
}

/** @throws ModelError when laurel.json asks for a size that the networks cannot draw */
function checkStatedSize(folder: ModelFolder, { width, height }: DiffusionDefaults, rule: SizeRule): void {
  const possible = (side: number): boolean => side % rule.multiple === 0 && side <= rule.maximum;
  if (possible(width) && possible(height)) return;
  throw new ModelError(
    `${join(folder.directory, "laurel.json")}: expected sides that are multiples of ${rule.multiple} up to ${rule.maximum}, got ${width} x ${height}`,
  );
}
