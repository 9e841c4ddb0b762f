/** @file Keeps the compiled programs of a model: the text encoder, and denoiser and decoder for the size in use. */

import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { LatentSize, NetworkConfigs, NetworkGraphs, ResolvedWeights } from "./networks.js";
import { decoderGraph, denoiserGraph } from "./networks.js";

/** The programs that are made for one size. */
export interface SizedPrograms {
  /** `sample`, `timestep`, `conditioning`, `row` -> `prediction` */
  readonly denoiser: LazyProgram;
  /** `latents` -> `image` */
  readonly decoder: LazyProgram;
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

/** Programs by size. Those of one size are kept at a time: each holds its own copy of the prepared weights. */
export class DiffusionPrograms {
  /** `ids` -> `lastHiddenState` */
  readonly text: LazyProgram;
  readonly #device: Device;
  readonly #parts: ProgramParts;
  #sized: (SizedPrograms & { readonly key: string }) | undefined;

  constructor(device: Device, parts: ProgramParts) {
    this.#device = device;
    this.#parts = parts;
    const { graphs, weights } = parts;
    this.text = new LazyProgram(device, () => graphs.text, { weights: weights.text, label: "text encoder" });
  }

  /** The programs for `size`; those for another are freed. */
  forSize(size: LatentSize): SizedPrograms {
    const key = keyOf(size);
    if (this.#sized?.key === key) return this.#sized;
    void this.#disposeSized();
    const { configs, weights, length, graphs } = this.#parts;
    const known = key === keyOf(this.#parts.size);
    const denoiser = () => (known ? graphs.denoiser : denoiserGraph(configs.unet, size, length));
    const decoder = () => (known ? graphs.decoder : decoderGraph(configs.autoencoder, size));
    this.#sized = {
      key,
      denoiser: new LazyProgram(this.#device, denoiser, { weights: weights.denoiser, label: "denoiser" }),
      decoder: new LazyProgram(this.#device, decoder, { weights: weights.decoder, label: "decoder" }),
    };
    return this.#sized;
  }

  /** Gives everything back; what is asked for later is compiled anew. */
  async dispose(): Promise<void> {
    await Promise.all([this.text.dispose(), this.#disposeSized()]);
  }

  async #disposeSized(): Promise<void> {
    const sized = this.#sized;
    this.#sized = undefined;
    await Promise.all([sized?.denoiser.dispose(), sized?.decoder.dispose()]);
  }
}

function keyOf({ width, height }: LatentSize): string {
  return `${width}x${height}`;
}
