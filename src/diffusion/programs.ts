/** @file Keeps the compiled programs of a model: those of the networks for the size and the length of prompts in use. */

import type { Graph } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { Program } from "../runtime/program.js";
import type { WeightEntry } from "../weights/types.js";
import type { ModelFolder } from "./model-folder.js";
import { adaptersOf, adapterWeights, type NetworkLora } from "./lora.js";
import type { LatentSize, NetworkConfigs, ResolvedWeights } from "./networks.js";
import { decoderGraph, denoiserGradientGraph, denoiserGraph, encoderGraph, resolveEncoderWeights } from "./networks.js";
import type { Networks } from "./runnable.js";
import { type PictureJudge, scoreGradientGraph, scoreGradientWeights } from "./score-gradient.js";
import { PLAIN_TEXT, textNetworkGraph, type TextVariant } from "./text-networks.js";

/** What the programs are made from. */
export interface ProgramParts {
  readonly folder: ModelFolder;
  readonly configs: NetworkConfigs;
  readonly weights: ResolvedWeights;
  /** Tokens the text encoders read at once. */
  readonly window: number;
  /** Graphs that exist already: for prompts of one window, and `size`. */
  readonly graphs: { readonly denoiser: Graph; readonly decoder: Graph };
  readonly size: LatentSize;
}

/** One program of each network is kept at a time, for what was asked of it last: each holds its own copy of the prepared weights. */
export class DiffusionPrograms implements Networks {
  readonly #device: Device;
  readonly #parts: ProgramParts;
  readonly #texts: readonly KeptProgram[];
  readonly #denoiser: KeptProgram;
  readonly #decoder: KeptProgram;
  readonly #denoiserGradient: KeptProgram;
  #scoreGradient: { readonly judge: PictureJudge["weights"]; readonly program: KeptProgram } | undefined;

  constructor(device: Device, parts: ProgramParts) {
    this.#device = device;
    this.#parts = parts;
    const { weights, graphs, size, window } = parts;
    this.#texts = weights.texts.map(
      (one, i) => new KeptProgram(device, i === 0 ? "text encoder" : `text encoder ${i + 1}`, one),
    );
    this.#denoiser = new KeptProgram(device, "denoiser", weights.denoiser, [
      denoiserKey(size, window),
      graphs.denoiser,
    ]);
    this.#denoiserGradient = new KeptProgram(device, "denoiser gradient", weights.denoiser);
    this.#decoder = new KeptProgram(device, "decoder", weights.decoder, [sizeKey(size), graphs.decoder]);
  }

  text(index: number, variant: TextVariant, loras: readonly NetworkLora[] = []): LazyProgram {
    const { configs, window } = this.#parts;
    const graph = (): Graph => textNetworkGraph(configs.texts[index]!, window, variant, adaptersOf(loras));
    return this.#texts[index]!.for(textKey(variant), graph, loras);
  }

  denoiser(size: LatentSize, length: number, loras: readonly NetworkLora[] = []): LazyProgram {
    const { configs } = this.#parts;
    const graph = (): Graph => denoiserGraph(configs.unet, size, length, adaptersOf(loras));
    return this.#denoiser.for(denoiserKey(size, length), graph, loras);
  }

  denoiserGradient(size: LatentSize, length: number, loras: readonly NetworkLora[] = []): LazyProgram {
    const { configs } = this.#parts;
    const graph = (): Graph => denoiserGradientGraph(configs.unet, size, length, adaptersOf(loras));
    return this.#denoiserGradient.for(denoiserKey(size, length), graph, loras);
  }

  scoreGradient(size: LatentSize, judge: PictureJudge): LazyProgram {
    const { configs, weights } = this.#parts;
    if (this.#scoreGradient?.judge !== judge.weights) {
      // with the device gone there is nothing left to free
      this.#scoreGradient?.program.dispose().catch(() => undefined);
      const program = new KeptProgram(
        this.#device,
        `${judge.name} gradient by latents`,
        scoreGradientWeights(weights.decoder, judge),
      );
      this.#scoreGradient = { judge: judge.weights, program };
    }
    return this.#scoreGradient.program.for(sizeKey(size), () =>
      scoreGradientGraph(configs.autoencoder, size, configs.factor, judge),
    );
  }

  decoder(size: LatentSize): LazyProgram {
    return this.#decoder.for(sizeKey(size), () => decoderGraph(this.#parts.configs.autoencoder, size));
  }

  async encoder(width: number, height: number): Promise<Program> {
    const { configs, folder } = this.#parts;
    const graph = encoderGraph(configs.autoencoder, width, height);
    const weights = await resolveEncoderWeights(folder, graph);
    // compiled for this picture alone: its weights need not stay in memory beside the denoiser's
    return this.#device.compile(graph, { weights, label: "encoder" });
  }

  async prepare(): Promise<void> {
    const { size, window } = this.#parts;
    const texts = this.#texts.map((_, i) => this.text(i, PLAIN_TEXT).get());
    await Promise.all([...texts, this.denoiser(size, window).get(), this.decoder(size).get()]);
  }

  async dispose(): Promise<void> {
    const { program } = this.#scoreGradient ?? {};
    const all = [...this.#texts, this.#denoiser, this.#decoder, this.#denoiserGradient];
    await Promise.all([...all.map((one) => one.dispose()), program?.dispose()]);
  }
}

/** The program of one network, for one key at a time. */
class KeptProgram {
  #kept: { readonly key: string; readonly program: LazyProgram } | undefined;

  /** @param made a key and its graph, which exists already */
  constructor(
    private readonly device: Device,
    private readonly label: string,
    private readonly weights: ReadonlyMap<string, WeightEntry>,
    private readonly made?: readonly [key: string, graph: Graph],
  ) {}

  /** The program for `plainKey` with these LoRAs in its layers; that for anything else is freed. */
  for(plainKey: string, graph: () => Graph, loras: readonly NetworkLora[] = []): LazyProgram {
    const key = [plainKey, ...loras.map((lora) => lora.key)].join("\n");
    if (this.#kept?.key === key) return this.#kept.program;
    // with the device gone there is nothing left to free
    this.dispose().catch(() => undefined);
    const { device, label } = this;
    const weights = loras.length === 0 ? this.weights : new Map([...this.weights, ...adapterWeights(loras)]);
    const [madeKey, made] = this.made ?? [];
    const program = new LazyProgram(device, key === madeKey && made !== undefined ? () => made : graph, {
      weights,
      label,
    });
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
