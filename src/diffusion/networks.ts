/** @file The networks of a Stable Diffusion folder as graphs with their weights: text encoder, denoiser, image decoder and encoder. */

import { ModelError } from "../errors.js";
import { gradient } from "../autodiff/gradient.js";
import { add, clip, constant, div, gather, graph, input, mul } from "../graph/builder.js";
import type { Graph, Value } from "../graph/types.js";
import type { AutoencoderConfig } from "../models/autoencoder-kl.js";
import {
  AUTOENCODER_IGNORED_KEYS,
  autoencoderFactor,
  AUTOENCODER_KEYS_BEYOND_DECODER,
  AUTOENCODER_KEYS_BEYOND_ENCODER,
  buildDecoder,
  buildEncoder,
  parseAutoencoderConfig,
} from "../models/autoencoder-kl.js";
import type { ClipTextConfig } from "../models/clip-text.js";
import { CLIP_TEXT_IGNORED_KEYS } from "../models/clip-text.js";
import type { UnetConfig } from "../models/unet-2d-condition.js";
import { ADDED_SIZES, buildUnet, parseUnetConfig, UNET_IGNORED_KEYS } from "../models/unet-2d-condition.js";
import { rootScope, type RootScopeOptions, type Scope } from "../nn/scope.js";
import { float32 } from "../tensor/tensor.js";
import { renameDeprecatedAttention } from "../weights/layouts/deprecated-attention.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightEntry } from "../weights/types.js";
import { isXl, type ModelFolder } from "./model-folder.js";
import { readTextNetworks, type TextNetwork } from "./text-networks.js";

/** A size in latent cells. */
export interface LatentSize {
  readonly height: number;
  readonly width: number;
}

/** The configurations of the networks, checked against each other. */
export interface NetworkConfigs {
  /** Of the first text encoder, the only one but in an XL. */
  readonly text: ClipTextConfig;
  /** The text encoders, in the order in which their states are joined. */
  readonly texts: readonly TextNetwork[];
  readonly unet: UnetConfig;
  readonly autoencoder: AutoencoderConfig;
  /** Pixels per latent cell, along each side. */
  readonly factor: number;
  /** The denoiser reads a mask and the latents of the masked picture beside its sample. */
  readonly inpainting: boolean;
  /** The size the denoiser was trained at; Stable Diffusion's 64x64 where its file does not say. */
  readonly native: LatentSize;
}

/** Parses the configurations. @throws ModelError naming the file and field, or two networks that do not fit together */
export function readNetworkConfigs(folder: ModelFolder): NetworkConfigs {
  const texts = readTextNetworks(folder);
  const text = texts[0].config;
  const unet = parseUnetConfig(folder.configs.unet, folder.whereOf("unet"));
  const autoencoder = parseAutoencoderConfig(folder.configs.vae, folder.whereOf("vae"));
  const problems: string[] = [];
  const same = (what: string, expected: number, actual: number): void => {
    if (expected !== actual) problems.push(`${what}: expected ${expected}, got ${actual}`);
  };
  const { latentChannels } = autoencoder;
  // sample, mask, latents of the masked picture
  const inpainting = unet.inChannels === 2 * latentChannels + 1;
  if (!inpainting) same("unet in_channels (the autoencoder's latent_channels)", latentChannels, unet.inChannels);
  same("unet out_channels (the autoencoder's latent_channels)", latentChannels, unet.outChannels);
  same(
    `unet cross_attention_dim (the text encoder${texts.length === 1 ? "'s" : "s'"} hidden_size)`,
    texts.reduce((sum, { config }) => sum + config.width, 0),
    unet.crossAttentionWidth,
  );
  checkAddedEmbedding(folder, texts, unet, problems);
  // the reference pipeline divides by the scaling factor and knows no shift
  same("vae shift_factor", 0, autoencoder.shiftFactor);
  if (!isXl(folder) && autoencoder.latents !== undefined) {
    problems.push("vae latents_mean, latents_std: expected none, which the reference pipeline does not read, got both");
  }
  if (problems.length > 0) {
    const hint = "are these parts of different models? get the whole model again";
    throw new ModelError(`${folder.directory}: ${problems.join("; ")} (${hint})`);
  }
  const side = unet.sampleSize ?? 64;
  const factor = autoencoderFactor(autoencoder);
  return { text, texts, unet, autoencoder, factor, inpainting, native: { height: side, width: side } };
}

/** What an XL has and others have not. */
function checkAddedEmbedding(
  folder: ModelFolder,
  texts: readonly TextNetwork[],
  { addedEmbedding }: UnetConfig,
  problems: string[],
): void {
  const pooled = texts.find((network) => network.pooled)?.config.projection;
  if (addedEmbedding?.pooledWidth !== pooled) {
    problems.push(
      `unet addition_embed_type, projection_class_embeddings_input_dim: expected ${pooled === undefined ? "none" : `the second text encoder's projection_dim ${pooled}`} in a ${folder.pipeline}, got ${addedEmbedding?.pooledWidth ?? "none"}`,
    );
  }
  if (isXl(folder) && folder.index["requires_aesthetics_score"] === true) {
    problems.push("requires_aesthetics_score: expected false, got true (a refiner, which is not supported)");
  }
}

/**
 * `sample` [N, C, h, w], `timestep` [N], `conditioning` [P, L, width] and `row` int64 [N] (which conditioning each sample has)
 * -> `prediction` [N, C, h, w]. The few different conditionings are passed once and not repeated for each sample. A distilled denoiser also reads
 * `guidance` [N, timeConditionWidth], the embedded guidance scale; an XL's `pooled` [P, pooledWidth] and `sizes` [P, 6], by the same `row`.
 * @param adapters of the layers
 */
export function denoiserGraph(
  config: UnetConfig,
  size: LatentSize,
  length: number,
  adapters?: RootScopeOptions["adapters"],
): Graph {
  const { prediction } = denoiserValues(config, size, length, {
    mode: "inference",
    ...(adapters === undefined ? {} : { adapters }),
  });
  return graph("denoiser", { prediction });
}

/**
 * The inputs of {@link denoiserGraph} and `upstream` [N, C, h, w] -> `gradient`, of the sample's shape: how `sum(upstream * prediction)` changes with it.
 * The prediction is made on the way and forgotten.
 */
export function denoiserGradientGraph(
  config: UnetConfig,
  size: LatentSize,
  length: number,
  adapters?: RootScopeOptions["adapters"],
): Graph {
  const { sample, prediction } = denoiserValues(config, size, length, {
    mode: "training",
    ...(adapters === undefined ? {} : { adapters }),
  });
  const upstream = input("upstream", "float32", prediction.shape);
  const [slope] = gradient([{ value: prediction, upstream }], [sample]);
  return graph("denoiser-gradient", { gradient: slope! });
}

function denoiserValues(
  config: UnetConfig,
  size: LatentSize,
  length: number,
  options: RootScopeOptions,
): { readonly sample: Value; readonly prediction: Value } {
  const sample = input("sample", "float32", ["N", config.inChannels, size.height, size.width]);
  const timestep = input("timestep", "float32", ["N"]);
  const conditioning = input("conditioning", "float32", ["P", length, config.crossAttentionWidth]);
  const row = input("row", "int64", ["N"]);
  const encoderHiddenStates = gather(conditioning, row, 0);
  const { addedEmbedding } = config;
  const added =
    addedEmbedding === undefined
      ? undefined
      : {
          pooled: gather(input("pooled", "float32", ["P", addedEmbedding.pooledWidth]), row, 0),
          sizes: gather(input("sizes", "float32", ["P", ADDED_SIZES]), row, 0),
        };
  const timeCondition =
    config.timeConditionWidth === undefined
      ? undefined
      : input("guidance", "float32", ["N", config.timeConditionWidth]);
  const inputs = { sample, timestep, encoderHiddenStates, timeCondition, added };
  return { sample, prediction: buildUnet(rootScope(options), config, inputs) };
}

/** `latents` [N, C, h, w], already divided by the scaling factor -> `image` [N, 3, H, W], about [-1, 1]. */
export function decoderGraph(config: AutoencoderConfig, size: LatentSize): Graph {
  const latents = input("latents", "float32", ["N", config.latentChannels, size.height, size.width]);
  return graph("decoder", { image: buildDecoder(rootScope({ mode: "inference" }), config, latents) });
}

/**
 * The denoiser's latents [N, C, h, w] -> picture [N, 3, H, W] of RGB in [0, 1], as graphs that go on from pictures begin.
 * @param vae scope of the autoencoder's parameters
 */
export function decodedPicture(vae: Scope, config: AutoencoderConfig, latents: Value): Value {
  const decoded = buildDecoder(vae, config, autoencoderLatents(config, latents));
  return clip(add(mul(decoded, 0.5), 0.5), 0, 1);
}

/** As `toAutoencoderLatents`. */
function autoencoderLatents({ scalingFactor, shiftFactor, latents: scale }: AutoencoderConfig, latents: Value): Value {
  const perChannel = (values: readonly number[]): Value =>
    constant(float32([values.length, 1, 1], Float32Array.from(values)));
  if (scale !== undefined)
    return add(div(mul(latents, perChannel(scale.deviation)), scalingFactor), perChannel(scale.mean));
  const unscaled = div(latents, scalingFactor);
  return shiftFactor === 0 ? unscaled : add(unscaled, shiftFactor);
}

/** `image` [N, 3, H, W] in [-1, 1] -> `mean`, `logVariance` [N, C, h, w] of the latents, not scaled. */
export function encoderGraph(config: AutoencoderConfig, width: number, height: number): Graph {
  const image = input("image", "float32", ["N", config.inChannels, height, width]);
  const { mean, logVariance } = buildEncoder(rootScope({ mode: "inference" }), config, image);
  return graph("encoder", { mean, logVariance });
}

/** Weights by parameter name, for graphs of any size. */
export interface ResolvedWeights {
  /** Of each text encoder. */
  readonly texts: readonly ReadonlyMap<string, WeightEntry>[];
  readonly denoiser: ReadonlyMap<string, WeightEntry>;
  readonly decoder: ReadonlyMap<string, WeightEntry>;
}

/** The graphs for one size. */
export interface NetworkGraphs {
  /** Of each text encoder, whole. */
  readonly texts: readonly Graph[];
  readonly denoiser: Graph;
  readonly decoder: Graph;
}

/**
 * Finds the weights of the image encoder. Not part of opening: a folder without them still draws from prompts.
 * @throws ModelError listing every missing, unexpected and mis-shaped tensor
 */
export async function resolveEncoderWeights(
  folder: ModelFolder,
  encoder: Graph,
): Promise<ReadonlyMap<string, WeightEntry>> {
  return resolveWeights(encoder.parameters, await folder.openWeights("vae"), {
    where: "AutoencoderKL",
    rename: renameDeprecatedAttention,
    ignore: [...AUTOENCODER_IGNORED_KEYS, ...AUTOENCODER_KEYS_BEYOND_ENCODER],
  });
}

/**
 * Finds the weights of all networks; only the files' tables of contents are read.
 * @throws ModelError listing every missing, unexpected and mis-shaped tensor of a network
 */
export async function resolveNetworkWeights(
  folder: ModelFolder,
  texts: readonly TextNetwork[],
  graphs: NetworkGraphs,
): Promise<ResolvedWeights> {
  const [unet, autoencoder, ...encoders] = await Promise.all([
    folder.openWeights("unet"),
    folder.openWeights("vae"),
    ...texts.map(({ component }) => folder.openWeights(component)),
  ]);
  return {
    texts: texts.map(({ pooled }, i) =>
      resolveWeights(graphs.texts[i]!.parameters, encoders[i]!, {
        where: pooled ? "CLIPTextModelWithProjection" : "CLIPTextModel",
        ignore: CLIP_TEXT_IGNORED_KEYS,
      }),
    ),
    denoiser: resolveWeights(graphs.denoiser.parameters, unet, {
      where: "UNet2DConditionModel",
      ignore: UNET_IGNORED_KEYS,
    }),
    decoder: resolveWeights(graphs.decoder.parameters, autoencoder, {
      where: "AutoencoderKL",
      rename: renameDeprecatedAttention,
      ignore: [...AUTOENCODER_IGNORED_KEYS, ...AUTOENCODER_KEYS_BEYOND_DECODER],
    }),
  };
}
