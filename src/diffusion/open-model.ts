/** @file Opening a diffusers folder: what it says is read and checked; no weight is loaded and nothing is compiled yet. */

import { join } from "node:path";
import { ModelError } from "../errors.js";
import { PROMPT_SYNTAXES } from "../prompts/attention-syntax.js";
import type { Device } from "../runtime/device.js";
import { SAMPLER_NAMES } from "../samplers/sampler.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import { InitEncoder } from "./init-encoder.js";
import { LoraStore, type NetworkLora } from "./lora.js";
import { defaultsOf, isXl, type ModelFolder, type ModelFolderOptions } from "./model-folder.js";
import type { NetworkConfigs } from "./networks.js";
import { decoderGraph, denoiserGraph, readNetworkConfigs, resolveNetworkWeights } from "./networks.js";
import { OnnxNetworks } from "./onnx-networks.js";
import { DiffusionPrograms, type ProgramParts } from "./programs.js";
import { readModel } from "./read-model.js";
import type { DiffusionDefaults, SettingLimits, SizeRule } from "./request.js";
import type { Networks } from "./runnable.js";
import { TextConditioner } from "./text-conditioning.js";
import { mostClipSkip, type TextVariant, wholeTextGraph } from "./text-networks.js";

/** Largest side in pixels. */
const MAX_SIDE = 2048;

/** What an open model is made of. */
export interface ModelParts {
  readonly folder: ModelFolder;
  readonly configs: NetworkConfigs;
  readonly defaults: DiffusionDefaults;
  readonly limits: SettingLimits & { readonly size: SizeRule };
  readonly programs: Networks;
  readonly text: TextConditioner;
  /** The tensors of a textual inversion file for each text encoder; undefined where the file has one tensor. */
  readonly embeddingKeys: readonly (string | undefined)[];
  readonly loras: LoraStore;
  readonly initEncoder: InitEncoder;
  /** What was noticed. */
  readonly warnings: readonly string[];
}

/** Opens the parts of a diffusers folder or a single file. @throws ModelError when it is incomplete, damaged or of another kind */
export async function openModelParts(
  directory: string,
  device: Device,
  options: ModelFolderOptions = {},
): Promise<ModelParts> {
  const folder = await readModel(directory, options);
  const configs = readNetworkConfigs(folder);
  const tokenizers = await openTokenizers(folder, configs);
  const length = tokenizers[0]!.maxLength;
  const { factor, native } = configs;
  const defaults = defaultsOf(folder, { width: native.width * factor, height: native.height * factor });
  const rule: SizeRule = { multiple: factor, minimum: factor, maximum: MAX_SIDE };
  checkStatedSize(folder, defaults, rule);
  const size = { width: defaults.width / factor, height: defaults.height / factor };
  const { isOnnx = false } = folder;
  const open = isOnnx
    ? openOnnx(device, folder, configs)
    : openPrograms(device, folder, { configs, size, window: length });
  const { programs, warnings = [] } = await open;
  const encoders = configs.texts.map((network, i) => ({
    network,
    tokenizer: tokenizers[i]!,
    program: (variant: TextVariant, loras: readonly NetworkLora[]) => programs.text(i, variant, loras),
  }));
  const text = new TextConditioner(encoders, { zeroEmptyNegative: zeroesEmptyNegative(folder) });
  const { inpainting } = configs;
  const limits = {
    textToImage: !inpainting,
    imageToImage: !inpainting,
    inpainting: true,
    samplers: SAMPLER_NAMES,
    size: rule,
    promptSyntaxes: PROMPT_SYNTAXES,
    clipSkip: isOnnx ? 1 : mostClipSkip(configs.texts),
    embeddings: !isOnnx,
    loras: !isOnnx,
    distilledGuidance: configs.unet.timeConditionWidth !== undefined,
  };
  const initEncoder = new InitEncoder((width, height) => programs.encoder(width, height), configs);
  const embeddingKeys = isXl(folder) ? ["clip_l", "clip_g"] : [undefined];
  const loras = new LoraStore(configs, length);
  return {
    folder,
    configs,
    defaults,
    limits,
    programs,
    text,
    embeddingKeys,
    loras,
    initEncoder,
    warnings: [...folder.warnings, ...warnings],
  };
}

/** The networks of a model, and what was noticed of them. */
interface OpenedNetworks {
  readonly programs: Networks;
  readonly warnings?: readonly string[];
}

/** Networks made from weights. */
async function openPrograms(
  device: Device,
  folder: ModelFolder,
  { configs, size, window }: Pick<ProgramParts, "configs" | "size" | "window">,
): Promise<OpenedNetworks> {
  const graphs = {
    texts: configs.texts.map((network) => wholeTextGraph(network, window)),
    denoiser: denoiserGraph(configs.unet, size, window),
    decoder: decoderGraph(configs.autoencoder, size),
  };
  const weights = await resolveNetworkWeights(folder, configs.texts, graphs);
  return { programs: new DiffusionPrograms(device, { folder, configs, weights, window, graphs, size }) };
}

/** Networks that are ONNX files. */
async function openOnnx(device: Device, { directory }: ModelFolder, configs: NetworkConfigs): Promise<OpenedNetworks> {
  const programs = await OnnxNetworks.open(device, directory, configs);
  return { programs, warnings: programs.warnings };
}

/** A tokenizer for each text encoder. @throws ModelError for one that is not made for its encoder, or windows of different lengths */
async function openTokenizers(folder: ModelFolder, { texts }: NetworkConfigs): Promise<readonly ClipTokenizer[]> {
  const tokenizers = await Promise.all(texts.map(({ component }) => folder.openTokenizer(component)));
  texts.forEach(({ component, config: { maxPositions, vocabulary } }, i) => {
    const { maxLength, vocabularySize } = tokenizers[i]!;
    if (maxLength > maxPositions || vocabularySize > vocabulary) {
      throw new ModelError(
        `${folder.directory}: ${component.replace("text_encoder", "tokenizer")}: expected at most ${maxPositions} tokens of ${vocabulary} (${component}/config.json), got ${maxLength} of ${vocabularySize}`,
      );
    }
  });
  const [first, second = first] = tokenizers.map(({ maxLength }) => maxLength);
  if (first !== second) {
    throw new ModelError(`${folder.directory}: tokenizer_2: expected ${first} tokens as tokenizer, got ${second}`);
  }
  return tokenizers;
}

/** `force_zeros_for_empty_prompt` of an XL's pipeline, true where the file does not say. */
function zeroesEmptyNegative(folder: ModelFolder): boolean {
  return isXl(folder) && folder.index["force_zeros_for_empty_prompt"] !== false;
}

/** @throws ModelError when laurel.json asks for a size that the networks cannot draw */
function checkStatedSize(folder: ModelFolder, { width, height }: DiffusionDefaults, rule: SizeRule): void {
  const possible = (side: number): boolean => side % rule.multiple === 0 && side <= rule.maximum;
  if (possible(width) && possible(height)) return;
  throw new ModelError(
    `${join(folder.directory, "laurel.json")}: expected sides that are multiples of ${rule.multiple} up to ${rule.maximum}, got ${width} x ${height}`,
  );
}
