/** @file Keeps the compiled programs of a model: the text encoder, and denoiser and decoder for the size in use. */

import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import type { LatentSize, NetworkConfigs, ResolvedWeights } from "./networks.js";
import { decoderGraph, denoiserGraph, textEncoderGraph } from "./networks.js";

/** Denoiser and decoder for one size. */
interface Sized {
  readonly key: string;
  readonly denoiser: Promise<Program>;
  readonly decoder: Promise<Program>;
}

/** Compiles on first use. Programs for one size are kept at a time: each holds its own copy of the prepared weights. */
export class DiffusionPrograms {
  readonly #device: Device;
  readonly #configs: NetworkConfigs;
  readonly #weights: ResolvedWeights;
  readonly #length: number;
  #text: Promise<Program> | undefined;
  #sized: Sized | undefined;

  /** @param length tokens of a prompt */
  constructor(device: Device, configs: NetworkConfigs, weights: ResolvedWeights, length: number) {
    this.#device = device;
    this.#configs = configs;
    this.#weights = weights;
    this.#length = length;
  }

  /** `ids` -> `lastHiddenState` */
  text(): Promise<Program> {
    return (this.#text ??= this.#compile(
      "text encoder",
      textEncoderGraph(this.#configs.text, this.#length),
      this.#weights.text,
    ));
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
    const key = `${size.width}x${size.height}`;
    if (this.#sized?.key === key) return this.#sized;
    const old = this.#sized;
    void disposeQuietly(old?.denoiser);
    void disposeQuietly(old?.decoder);
    const { unet, autoencoder } = this.#configs;
    this.#sized = {
      key,
      denoiser: this.#compile("denoiser", denoiserGraph(unet, size, this.#length), this.#weights.denoiser),
      decoder: this.#compile("decoder", decoderGraph(autoencoder, size), this.#weights.decoder),
    };
    return this.#sized;
  }

  #compile(
    label: string,
    network: Parameters<Device["compile"]>[0],
    weights: ResolvedWeights["text"],
  ): Promise<Program> {
    const program = this.#device.compile(network, { weights, label });
    program.catch(() => undefined); // reported to whoever awaits it
    return program;
  }
}

/** A program that failed to compile has nothing to give back. */
async function disposeQuietly(program: Promise<Program> | undefined): Promise<void> {
  const compiled = await program?.catch(() => undefined);
  await compiled?.dispose();
}
