/** @file The picture a request starts from, as latents: encoded once, shared by all candidates of the request. */

import { float32 } from "../tensor/tensor.js";
import { unlessAborted } from "../util/abort.js";
import type { NetworkConfigs } from "./networks.js";
import { toEncoderInput, toMask } from "./pixels.js";
import type { DiffusionRequest, ResolvedRequest } from "./request.js";
import type { Networks } from "./runnable.js";

/** The encoder's normal distribution over latents, not scaled: each [channels, h, w], flattened. */
export interface Posterior {
  readonly mean: Float32Array;
  readonly deviation: Float32Array;
}

/** What the candidates of a request that starts from a picture share. */
export interface EncodedInit {
  /** Of the picture; undefined where a candidate starts from noise alone and keeps nothing of the picture's latents. */
  readonly picture: Posterior | undefined;
  /** Candidates start from noise alone, as diffusers' inpainting pipeline does at strength 1. */
  readonly fromNoise: boolean;
  /** Where to repaint; undefined without a mask. */
  readonly repaint: Repaint | undefined;
}

/** A mask over latents, and what goes with it. */
export interface Repaint {
  /** 1 where it is repainted, 0 where the picture is kept, [h, w]. */
  readonly mask: Float32Array;
  /** Of the picture with grey in place of what is repainted, for a denoiser that reads it; for any other, kept latents are put back each step. */
  readonly masked: Posterior | undefined;
}

type InitRequest = Pick<ResolvedRequest, "mask" | "width" | "height" | "strength"> & {
  readonly init: NonNullable<ResolvedRequest["init"]>;
};

/** What a request says of the picture it starts from. */
export type StartingPicture = Pick<DiffusionRequest, "init" | "mask" | "width" | "height" | "strength">;

/** Encodes pictures with the folder's autoencoder; what was encoded last is kept. */
export class InitEncoder {
  readonly #open: Networks["encoder"];
  readonly #configs: NetworkConfigs;
  #last: { readonly request: InitRequest; readonly encoded: Promise<EncodedInit> } | undefined;

  /** @param open the network, for pictures of a size */
  constructor(open: Networks["encoder"], configs: NetworkConfigs) {
    this.#open = open;
    this.#configs = configs;
  }

  /** The picture and mask of `request`. @throws ModelError when the folder has no encoder, CancelledError when the signal aborts */
  async encode(request: InitRequest, signal: AbortSignal | undefined): Promise<EncodedInit> {
    if (this.#last === undefined || !sameInit(this.#last.request, request)) {
      const encoded = this.#encode(request);
      const last = { request, encoded };
      this.#last = last;
      // what failed (a dead device) is not kept
      encoded.catch(() => {
        if (this.#last === last) this.#last = undefined;
      });
    }
    return unlessAborted(this.#last.encoded, signal);
  }

  async #encode(request: InitRequest): Promise<EncodedInit> {
    const { init, mask, width, height } = request;
    const { factor, inpainting } = this.#configs;
    const pixels = toEncoderInput(init, width, height);
    const repainted = mask === undefined ? undefined : toMask(mask, width, height);
    const fromNoise = startsFromNoise(request);
    const program = await this.#open(width, height);
    try {
      const posterior = async (image: Float32Array): Promise<Posterior> => {
        const outputs = await program.run({ image: float32([1, 3, height, width], image) });
        const logVariance = outputs["logVariance"]!.data as Float32Array;
        return { mean: outputs["mean"]!.data as Float32Array, deviation: logVariance.map((v) => Math.exp(0.5 * v)) };
      };
      const picture = fromNoise && inpainting ? undefined : await posterior(pixels);
      if (repainted === undefined) return { picture, fromNoise, repaint: undefined };
      const masked = inpainting ? await posterior(blanked(pixels, repainted)) : undefined;
      return { picture, fromNoise, repaint: { mask: shrunk(repainted, width, height, factor), masked } };
    } finally {
      await program.dispose();
    }
  }
}

/** Whether what was encoded for one request serves another. Pictures are compared by identity: they are not written to. */
export function sameInit(a: StartingPicture, b: StartingPicture): boolean {
  return (
    a.init === b.init &&
    a.mask === b.mask &&
    a.width === b.width &&
    a.height === b.height &&
    startsFromNoise(a) === startsFromNoise(b)
  );
}

function startsFromNoise({ mask, strength }: StartingPicture): boolean {
  return mask !== undefined && strength === 1;
}

/** Zero, which is medium grey, where the mask is set. */
function blanked(pixels: Float32Array, mask: Uint8Array): Float32Array {
  return pixels.map((value, i) => (mask[i % mask.length] === 1 ? 0 : value));
}

/** The mask at the latents' size: the upper left pixel of each cell, as torch's nearest interpolation takes it. */
function shrunk(mask: Uint8Array, width: number, height: number, factor: number): Float32Array {
  const columns = width / factor;
  const cells = new Float32Array((columns * height) / factor);
  return cells.map((_, i) => mask[Math.floor(i / columns) * factor * width + (i % columns) * factor]!);
}
