/** @file Keeps the compiled programs of a model: the text encoder, and denoiser and decoder for the size in use. */

import type { Graph } from "../graph/types.js";
import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import type { LatentSize, NetworkConfigs, NetworkGraphs, ResolvedWeights } from "./networks.js";
import { decoderGraph, denoiserGraph } from "./networks.js";

/** Denoiser and decoder for one size. */
interface Sized {
  readonly key: string;
  readonly denoiser: Promise<Program>;
  readonly decoder: Promise<Program>;
}

/** What the programs are made from. */
export interface ProgramParts {
  readonly configs: NetworkConfigs;
  readonly weights: ResolvedWeights;
  /** Tokens of a prompt. */
  readonly length: number;
  /** Graphs that exist already, and the size they are for. */
  readonly graphs: NetworkGraphs;
  readonly size: LatentSize;
}

/** Compiles on first use. Programs for one size are kept at a time: each holds its own copy of the prepared weights. */
export class DiffusionPrograms {
  readonly #device: Device;
  readonly #parts: ProgramParts;
  #text: Promise<Program> | undefined;
  #sized: Sized | undefined;

  constructor(device: Device, parts: ProgramParts) {
    this.#device = device;
    this.#parts = parts;
  }

  /** `ids` -> `lastHiddenState` */
  text(): Promise<Program> {
    const { graphs, weights } = this.#parts;
    return (this.#text ??= this.#compile("text encoder", graphs.text, weights.text));
  }

  /** `sample`, `timestep`, `conditioning`, `row` -> `prediction` */
  denoiser(size: LatentSize): Promise<Program> {
    return this.#for(size).denoiser;
  }

  /** `latents` -> `image` */
  decoder(size: LatentSize): Promise<Program> {
    return this.#for(size).decoder;
  }

  /** Gives everything back; what is asked for later is compiled anew. */
  async dispose(): Promise<void> {
    const all = [this.#text, this.#sized?.denoiser, this.#sized?.decoder];
    this.#text = undefined;
    this.#sized = undefined;
    await Promise.all(all.map(disposeQuietly));
  }

  #for(size: LatentSize): Sized {
    const key = keyOf(size);
    if (this.#sized?.key === key) return this.#sized;
    const old = this.#sized;
    void disposeQuietly(old?.denoiser);
    void disposeQuietly(old?.decoder);
    const { configs, weights, length, graphs } = this.#parts;
    const known = key === keyOf(this.#parts.size);
    const denoiser = known ? graphs.denoiser : denoiserGraph(configs.unet, size, length);
    const decoder = known ? graphs.decoder : decoderGraph(configs.autoencoder, size);
    this.#sized = {
      key,
      denoiser: this.#compile("denoiser", denoiser, weights.denoiser),
      decoder: this.#compile("decoder", decoder, weights.decoder),
    };
    return this.#sized;
  }

  #compile(label: string, network: Graph, weights: ResolvedWeights["text"]): Promise<Program> {
    const program = this.#device.compile(network, { weights, label });
    program.catch(() => undefined); // reported to whoever awaits it
    return program;
  }
}

function keyOf({ width, height }: LatentSize): string {
  return `${width}x${height}`;
}

/** A program that failed to compile has nothing to give back. */
async function disposeQuietly(program: Promise<Program> | undefined): Promise<void> {
  const compiled = await program?.catch(() => undefined);
  await compiled?.dispose();
}
