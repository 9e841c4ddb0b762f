/** @file Keeps the compiled programs of a model: those of the networks for the size and the length of prompts in use. */

import type { Graph } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { WeightEntry } from "../weights/types.js";
import { adaptersOf, adapterWeights, type NetworkLora } from "./lora.js";
import type { LatentSize, NetworkConfigs, NetworkGraphs, ResolvedWeights, TextVariant } from "./networks.js";
import { decoderGraph, denoiserGraph, PLAIN_TEXT, textEncoderGraph } from "./networks.js";

/** What the programs are made from. */
export interface ProgramParts {
  readonly configs: NetworkConfigs;
  readonly weights: ResolvedWeights;
  /** Tokens the text encoder reads at once. */
  readonly window: number;
  /** Graphs that exist already: for plain prompts of one window, and `size`. */
  readonly graphs: NetworkGraphs;
  readonly size: LatentSize;
}

/** One program of each network is kept at a time, for what was asked of it last: each holds its own copy of the prepared weights. */
export class DiffusionPrograms {
  readonly #parts: ProgramParts;
  readonly #text: KeptProgram;
  readonly #denoiser: KeptProgram;
  readonly #decoder: KeptProgram;

  constructor(device: Device, parts: ProgramParts) {
    this.#parts = parts;
    const { weights, graphs, size, window } = parts;
    this.#text = new KeptProgram(device, "text encoder", weights.text, textKey(PLAIN_TEXT), graphs.text);
    this.#denoiser = new KeptProgram(device, "denoiser", weights.denoiser, denoiserKey(size, window), graphs.denoiser);
    this.#decoder = new KeptProgram(device, "decoder", weights.decoder, sizeKey(size), graphs.decoder);
  }

  /** `ids`, where `replacing` `given` and `vectors`, and the scales of the LoRAs -> `lastHiddenState` */
  text(variant: TextVariant, loras: readonly NetworkLora[] = []): LazyProgram {
    const { configs, window } = this.#parts;
    const graph = (): Graph => textEncoderGraph(configs.text, window, variant, adaptersOf(loras));
    return this.#text.for(textKey(variant), graph, loras);
  }

  /** `sample`, `timestep`, `conditioning` of `length` tokens, `row`, and the scales of the LoRAs -> `prediction` */
  denoiser(size: LatentSize, length: number, loras: readonly NetworkLora[] = []): LazyProgram {
    const { configs } = this.#parts;
    const graph = (): Graph => denoiserGraph(configs.unet, size, length, adaptersOf(loras));
    return this.#denoiser.for(denoiserKey(size, length), graph, loras);
  }

  /** `latents` -> `image` */
  decoder(size: LatentSize): LazyProgram {
    return this.#decoder.for(sizeKey(size), () => decoderGraph(this.#parts.configs.autoencoder, size));
  }

  /** Compiles ahead what a plain prompt at the model's own size needs. */
  async prepare(): Promise<void> {
    const { size, window } = this.#parts;
    await Promise.all([this.text(PLAIN_TEXT).get(), this.denoiser(size, window).get(), this.decoder(size).get()]);
  }

  /** Gives everything back; what is asked for later is compiled anew. */
  async dispose(): Promise<void> {
    await Promise.all([this.#text.dispose(), this.#denoiser.dispose(), this.#decoder.dispose()]);
  }
}

/** The program of one network, for one key at a time. */
class KeptProgram {
  #kept: { readonly key: string; readonly program: LazyProgram } | undefined;

  /** @param graph the graph for `key`, which exists already */
  constructor(
    private readonly device: Device,
    private readonly label: string,
    private readonly weights: ReadonlyMap<string, WeightEntry>,
    private readonly key: string,
    private readonly graph: Graph,
  ) {}

  /** The program for `plainKey` with these LoRAs in its layers; that for anything else is freed. */
  for(plainKey: string, graph: () => Graph, loras: readonly NetworkLora[] = []): LazyProgram {
    const key = [plainKey, ...loras.map((lora) => lora.key)].join("\n");
    if (this.#kept?.key === key) return this.#kept.program;
    // with the device gone there is nothing left to free
    this.dispose().catch(() => undefined);
    const { device, label } = this;
    const weights = loras.length === 0 ? this.weights : new Map([...this.weights, ...adapterWeights(loras)]);
    const program = new LazyProgram(device, key === this.key ? () => this.graph : graph, { weights, label });
    this.#kept = { key, program };
    return program;
  }

  async dispose(): Promise<void> {
    const kept = this.#kept;
    this.#kept = undefined;
    await kept?.program.dispose();
  }
}

function textKey({ skippedLayers, replacing }: TextVariant): string {
  return `${skippedLayers} ${replacing}`;
}

function sizeKey({ width, height }: LatentSize): string {
  return `${width}x${height}`;
}

function denoiserKey(size: LatentSize, length: number): string {
  return `${sizeKey(size)} ${length}`;
}
