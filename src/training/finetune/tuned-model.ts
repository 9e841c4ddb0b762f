/** @file A Stable Diffusion whose trained parameters are bound in the device process: the networks as parts of graphs, with what they need. */

import { stat } from "node:fs/promises";
import type { DiffusionDefaults } from "../../diffusion/request.js";
import { defaultsOf, isXl, type ModelFolder, schedulerFor } from "../../diffusion/model-folder.js";
import {
  decoderGraph,
  denoiserGraph,
  encoderGraph,
  type LatentSize,
  type NetworkConfigs,
  readNetworkConfigs,
  resolveEncoderWeights,
  resolveNetworkWeights,
} from "../../diffusion/networks.js";
import { readModel } from "../../diffusion/read-model.js";
import { wholeTextGraph } from "../../diffusion/text-networks.js";
import { ModelError, UsageError } from "../../errors.js";
import { scalar } from "../../graph/builder.js";
import type { Graph, Value } from "../../graph/types.js";
import type { Adapter, NetworkMode, Scope } from "../../nn/scope.js";
import { rootScope } from "../../nn/scope.js";
import type { SchedulerConfig } from "../../samplers/scheduler-config.js";
import { bfloat16ToFloat32, float16ToFloat32 } from "../../tensor/half.js";
import { TorchGenerator } from "../../tensor/random.js";
import { float32, type Tensor } from "../../tensor/tensor.js";
import type { ClipTokenizer } from "../../tokenizers/types.js";
import { notAFolder } from "../../weights/diffusers-folder.js";
import { readEntry } from "../../weights/source.js";
import type { WeightEntry } from "../../weights/types.js";
import type { FinetuneSettings } from "./settings.js";
import { ADAPTER, initialLora, type LoraModule, loraModules } from "./trained-part.js";

/** What stands before the networks' parameters in combined graphs. */
export const PREFIXES = { unet: "unet", text: "text_encoder", vae: "vae" } as const;

/** What is trained of one network. */
interface TrainedNetwork {
  readonly lora: readonly LoraModule[];
  readonly adapted: ReadonlySet<string>;
}

/** A model that is being trained. */
export interface TunedModel {
  readonly folder: ModelFolder;
  readonly configs: NetworkConfigs;
  readonly scheduler: SchedulerConfig;
  readonly defaults: DiffusionDefaults;
  readonly tokenizer: ClipTokenizer;
  /** In latent cells; the pictures are `configs.factor` times as large. */
  readonly size: LatentSize;
  readonly settings: FinetuneSettings["train"];
  /** The text encoder is trained too: prompts are encoded anew after each update. */
  readonly trainsText: boolean;
  /** Start values of the trained parameters, by bound name. */
  readonly start: ReadonlyMap<string, Tensor>;
  /** The weights of the base, by prefixed name; a trained one is among them where all weights are trained. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
  /** Modules with low-rank terms, by prefix. */
  readonly lora: ReadonlyMap<string, readonly LoraModule[]>;
  /**
   * A scope for a network's parameters.
   * @param scale multiplies the low-rank terms beside alpha / rank; undefined builds the base without them
   */
  scope(prefix: string, mode: NetworkMode, scale: Value | "one" | undefined): Scope;
}

/**
 * Opens a diffusers folder for training.
 * @param pixels of the pictures; @default the model's own
 * @throws ModelError for an incomplete folder or one that is not text-to-image; UsageError for targets it does not have, or a size it cannot draw
 */
export async function openTunedModel(
  directory: string,
  settings: Pick<FinetuneSettings, "train" | "seed">,
  pixels?: { readonly width: number; readonly height: number },
): Promise<TunedModel> {
  const folder = await readModel(directory);
  const configs = readNetworkConfigs(folder);
  if (isXl(folder) || configs.inpainting || configs.unet.timeConditionWidth !== undefined) {
    const other = configs.inpainting ? "an inpainting model" : "one distilled with guidance";
    const what = isXl(folder) ? "a Stable Diffusion XL, which can be drawn with but not trained" : other;
    throw new ModelError(`${folder.directory}: expected a text-to-image model to train, got ${what}`);
  }
  if (settings.train.kind !== "lora" && (await stat(folder.directory)).isFile())
    throw new UsageError(notAFolder(folder.directory));
  const tokenizer = await folder.openTokenizer("text_encoder");
  const { factor, native } = configs;
  const defaults = defaultsOf(folder, { width: native.width * factor, height: native.height * factor });
  const { width, height } = pixels ?? defaults;
  if (width % factor !== 0 || height % factor !== 0)
    throw new UsageError(`size: expected multiples of ${factor}, got ${width} x ${height}`);
  const size = { width: width / factor, height: height / factor };
  const graphs = {
    texts: configs.texts.map((network) => wholeTextGraph(network, tokenizer.maxLength)),
    denoiser: denoiserGraph(configs.unet, size, tokenizer.maxLength),
    decoder: decoderGraph(configs.autoencoder, size),
  };
  const resolved = await resolveNetworkWeights(folder, configs.texts, graphs);
  const encoder = await resolveEncoderWeights(folder, encoderGraph(configs.autoencoder, width, height)).catch(
    // a folder without an image encoder can be trained as long as no loss needs it
    () => new Map<string, WeightEntry>(),
  );
  const weights = new Map<string, WeightEntry>([
    ...prefixed(PREFIXES.text, resolved.texts[0]!),
    ...prefixed(PREFIXES.unet, resolved.denoiser),
    ...prefixed(PREFIXES.vae, encoder),
    ...prefixed(PREFIXES.vae, resolved.decoder),
  ]);
  const { train, seed } = settings;
  const lora = new Map<string, readonly LoraModule[]>();
  const start = new Map<string, Tensor>();
  if (train.kind === "lora") {
    const generator = new TorchGenerator(seed);
    const parts: [string, Graph, readonly string[] | null][] = [
      [PREFIXES.unet, graphs.denoiser, train.targets],
      [PREFIXES.text, graphs.texts[0]!, train.textEncoder],
    ];
    for (const [prefix, { parameters }, targets] of parts) {
      if (targets === null) continue;
      const modules = loraModules(prefix, parameters, targets);
      lora.set(prefix, modules);
      for (const [name, value] of initialLora(prefix, modules, train.rank, generator)) start.set(name, value);
    }
  } else {
    const trained = [PREFIXES.unet, ...(train.textEncoder ? [PREFIXES.text] : [])];
    for (const [name, entry] of weights) {
      if (trained.some((prefix) => name.startsWith(`${prefix}.`))) start.set(name, await readFloat32(entry));
    }
  }
  const networks = new Map<string, TrainedNetwork>(
    [...lora].map(([prefix, modules]) => [
      prefix,
      { lora: modules, adapted: new Set(modules.map(({ module }) => module)) },
    ]),
  );
  const alphaShare = train.kind === "lora" ? (train.alpha ?? train.rank) / train.rank : 1;
  const rank = train.kind === "lora" ? train.rank : 0;
  return {
    folder,
    configs,
    scheduler: schedulerFor(folder, false),
    defaults: { ...defaults, width, height },
    tokenizer,
    size,
    settings: train,
    trainsText: train.kind === "lora" ? train.textEncoder !== null : train.textEncoder,
    start,
    weights,
    lora,
    scope(prefix, mode, scale) {
      const network = networks.get(prefix);
      if (network === undefined || scale === undefined) return rootScope({ prefix, mode });
      const factorValue = scale === "one" ? scalar(alphaShare) : scale;
      const adapters: readonly Adapter[] = [{ name: ADAPTER, rank, scale: factorValue }];
      return rootScope({ prefix, mode, adapters: (module) => (network.adapted.has(module) ? adapters : []) });
    },
  };
}

/** alpha / rank of the run's low-rank terms; 1 where all weights are trained. */
export function loraScale({ settings }: Pick<TunedModel, "settings">): number {
  return settings.kind === "lora" ? (settings.alpha ?? settings.rank) / settings.rank : 1;
}

function* prefixed(prefix: string, weights: ReadonlyMap<string, WeightEntry>): Generator<[string, WeightEntry]> {
  for (const [name, entry] of weights) yield [`${prefix}.${name}`, entry];
}

/** A weight in float32, in the shape its graph has. */
async function readFloat32(entry: WeightEntry): Promise<Tensor<"float32">> {
  const { dtype, data } = await readEntry(entry);
  if (dtype === "float32") return float32(entry.shape, data as Float32Array);
  if (dtype === "float16") return float32(entry.shape, float16ToFloat32(data as Uint16Array));
  if (dtype === "bfloat16") return float32(entry.shape, bfloat16ToFloat32(data as Uint16Array));
  throw new ModelError(`${entry.file}: ${entry.name}: expected a float tensor, got ${dtype}`);
}
