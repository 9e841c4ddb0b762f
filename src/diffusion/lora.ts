/** @file LoRAs in the networks of a diffusion model: opened once, as adapters of the layers, their scales fed at each run. */

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { input, mul, scalar } from "../graph/builder.js";
import type { Graph, Value } from "../graph/types.js";
import type { Adapter } from "../nn/scope.js";
import { float32, type Tensor } from "../tensor/tensor.js";
import { matchLora, type MatchedLora } from "../weights/lora/match.js";
import { openLora } from "../weights/lora/open.js";
import type { AdaptableLayers, LoraComponent, LoraLayers } from "../weights/lora/types.js";
import type { WeightEntry } from "../weights/types.js";
import type { LoraRequest } from "./request.js";
import { denoiserGraph, type NetworkConfigs } from "./networks.js";
import { wholeTextGraph } from "./text-networks.js";

/** What a LoRA does to one network. */
export interface NetworkLora {
  /** Differs from that of any other file, and of the same file when it has changed. */
  readonly key: string;
  /** By the layer's path in the network. */
  readonly layers: LoraLayers;
}

/** A LoRA of a network at a scale. */
export interface ScaledLora {
  readonly lora: NetworkLora;
  readonly scale: number;
}

/** The LoRAs of a request by network; those that leave a network as it is are not there. */
export type RequestLoras = Readonly<Record<LoraComponent, readonly ScaledLora[]>>;

/** The LoRAs without their scales. */
export function networkLoras(loras: readonly ScaledLora[]): readonly NetworkLora[] {
  return loras.map(({ lora }) => lora);
}

/** LoRA files that are kept open. */
const KEPT = 16;

/** The LoRAs of one model. */
export class LoraStore {
  readonly #configs: NetworkConfigs;
  readonly #window: number;
  #layers: AdaptableLayers | undefined;
  /** By key, in order of use, the latest last. */
  readonly #open = new Map<string, Promise<MatchedLora>>();

  /** @param window tokens the text encoder reads at once */
  constructor(configs: NetworkConfigs, window: number) {
    this.#configs = configs;
    this.#window = window;
  }

  /** Opens the files that are not open yet. @throws ModelError for a file that is no LoRA, or one for another model */
  async open(requests: readonly LoraRequest[]): Promise<RequestLoras> {
    const unet: ScaledLora[] = [];
    const text: ScaledLora[] = [];
    for (const { path, scale = 1 } of requests) {
      const { key, lora } = await this.#one(path);
      const [ofUnet, ofText] = [lora.get("unet"), lora.get("text_encoder")];
      if (ofUnet !== undefined) unet.push({ lora: { key, layers: ofUnet }, scale });
      if (ofText !== undefined) text.push({ lora: { key, layers: ofText }, scale });
    }
    return { unet, text_encoder: text };
  }

  async #one(path: string): Promise<{ readonly key: string; readonly lora: MatchedLora }> {
    const facts = await stat(path).catch(() => undefined);
    const key = `${resolve(path)} ${facts?.size} ${facts?.mtimeMs} ${facts?.ino}`;
    this.#layers ??= adaptableLayers(this.#configs, this.#window);
    const layers = this.#layers;
    const lora = this.#open.get(key) ?? openLora(path).then((file) => matchLora(file, layers));
    this.#open.delete(key);
    this.#open.set(key, lora);
    lora.catch(() => this.#open.delete(key));
    for (const oldest of this.#open.keys()) {
      if (this.#open.size <= KEPT) break;
      this.#open.delete(oldest);
    }
    return { key, lora: await lora };
  }
}

/** The layers of a model's denoiser and text encoder that can have adapters. */
export function adaptableLayers(configs: NetworkConfigs, window: number): AdaptableLayers {
  return new Map<LoraComponent, ReadonlyMap<string, readonly number[]>>([
    ["unet", layersOf((adapters) => denoiserGraph(configs.unet, configs.native, window, adapters))],
    ["text_encoder", layersOf((adapters) => wholeTextGraph(configs.texts[0]!, window, adapters))],
  ]);
}

/** The adapters of the layer at a path. */
export type AdaptersOf = (layer: string) => readonly Adapter[];

/** The layers that ask for adapters while a graph is built. */
function layersOf(build: (adapters: AdaptersOf) => Graph): Map<string, readonly number[]> {
  const layers = new Set<string>();
  const { parameters } = build((layer) => {
    layers.add(layer);
    return [];
  });
  return new Map([...layers].map((layer) => [layer, parameters.get(`${layer}.weight`)!.shape as readonly number[]]));
}

/** The LoRAs as adapters `lora0`, `lora1`, ..., each with a graph input for its scale, a float32 scalar. */
export function adaptersOf(loras: readonly NetworkLora[]): AdaptersOf {
  const adapters = loras.map(({ layers }, i) => {
    const fed = input(scaleName(i), "float32", []);
    const scaled = new Map<number, Value>();
    return (layer: string): Adapter[] => {
      const { rank, scale } = layers.get(layer) ?? { rank: 0, scale: 0 };
      if (rank === 0) return [];
      const value = scaled.get(scale) ?? (scale === 1 ? fed : mul(fed, scalar(scale)));
      scaled.set(scale, value);
      return [{ name: adapterName(i), rank, scale: value }];
    };
  });
  return (layer) => adapters.flatMap((one) => one(layer));
}

/** The matrices by the names of the adapters' parameters, in their files. */
export function* adapterWeights(loras: readonly NetworkLora[]): Generator<[string, WeightEntry]> {
  for (const [i, { layers }] of loras.entries()) {
    for (const [layer, { down, up }] of layers) {
      yield [`${layer}.lora_A.${adapterName(i)}.weight`, down];
      yield [`${layer}.lora_B.${adapterName(i)}.weight`, up];
    }
  }
}

/**
 * Feeds of the scales that a program has inputs for: a text encoder of fewer layers may have none.
 * @param weight multiplies them all
 */
export function scaleFeeds(
  loras: readonly ScaledLora[],
  inputs: readonly { readonly name: string }[],
  weight = 1,
): Record<string, Tensor> {
  return Object.fromEntries(
    loras.flatMap(({ scale }, i) =>
      inputs.some(({ name }) => name === scaleName(i)) ? [[scaleName(i), float32([], [scale * weight])]] : [],
    ),
  );
}

const adapterName = (i: number): string => `lora${i}`;
const scaleName = (i: number): string => `lora_scale.${i}`;

/**
 * How much of their scale LoRAs have at a timestep, 0 to 1: nothing at the first of the trained timesteps, all of it from the share
 * `anneal` of the way to the last. The base model decides on the composition, the tuned one on the rest.
 * After the annealed importance guidance of DRaFT+ (NVIDIA NeMo Aligner), which mixes the predictions of two models; here their weights are mixed, which
 * costs no second evaluation.
 * @param timestep of the sampler, 0 to `trained` - 1, the last being the noisiest
 * @param anneal above 0 to 1; undefined always gives 1
 */
export function annealedWeight(timestep: number, trained: number, anneal: number | undefined): number {
  if (anneal === undefined) return 1;
  return Math.min(1, (1 - timestep / (trained - 1)) / anneal);
}
