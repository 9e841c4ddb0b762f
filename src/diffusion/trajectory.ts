/** @file What a run of a diffusion model is made of: the shared trajectory, progress, finished pictures. */

import type { RgbImage } from "../image/types.js";
import type { Sampler } from "../samplers/contract.js";
import type { Tensor } from "../tensor/tensor.js";
import type { EncodedInit } from "./init-encoder.js";
import type { RequestLoras } from "./lora.js";
import type { LatentSize } from "./networks.js";
import type { ResolvedRequest } from "./request.js";

/** What all candidates of one request share. */
export interface Trajectory {
  readonly request: ResolvedRequest;
  readonly sampler: Sampler;
  /** [channels, height, width] of the latents. */
  readonly latentShape: readonly [number, number, number];
  /** True when a step costs two evaluations. */
  readonly guided: boolean;
  /** What a denoiser that was distilled with guidance reads of its scale; undefined for others. */
  readonly guidanceEmbedding: Float32Array | undefined;
  /** float32 [1 or 2, length, width]: the prompt, and before it the negative prompt where guidance needs it. */
  readonly conditioning: Tensor<"float32">;
  /**
   * What an XL's denoiser reads beside it, in the same order: float32 `pooled` [1 or 2, width], the prompts as a whole, and `sizes` [1 or 2, 6], what the
   * picture is told to be. undefined for others.
   */
  readonly added: { readonly pooled: Tensor<"float32">; readonly sizes: Tensor<"float32"> } | undefined;
  /** The picture that its candidates start from; undefined when they start from the prompt alone. */
  readonly init: EncodedInit | undefined;
  /** The LoRAs of the request. */
  readonly loras: RequestLoras;
  /** What the scales of the denoiser's LoRAs are multiplied with at each entry of the sampler. */
  readonly loraWeights: readonly number[];
  /** Truncated prompts, settings without effect. */
  readonly warnings: readonly string[];
}

/** The size of a trajectory's latents. */
export function latentSize({ latentShape }: Pick<Trajectory, "latentShape">): LatentSize {
  return { height: latentShape[1], width: latentShape[2] };
}

/** Tokens of a trajectory's conditioning. */
export function conditioningLength({ conditioning }: Pick<Trajectory, "conditioning">): number {
  return conditioning.shape[1]!;
}

/** How far the candidates in the making are. */
export interface DiffusionProgress {
  /** Entries of the sampler done, of `steps`: a sampler may have more of them than the request has steps (Heun: two a step). */
  readonly step: number;
  readonly steps: number;
  readonly candidates: number;
}

/** What a caller may pass beside the request. */
export interface DiffusionOptions {
  /** Ends the work with CancelledError. */
  readonly signal?: AbortSignal | undefined;
  /** Called after each step of the group in the making. */
  readonly onProgress?: ((progress: DiffusionProgress) => void) | undefined;
}

/** A finished picture. */
export interface DiffusionImage {
  readonly seed: number;
  readonly image: RgbImage;
  /** Evaluations of the denoiser it cost; a guided step counts 2. */
  readonly evaluations: number;
}

/** Pictures that became ready together. */
export interface DiffusionGroup {
  readonly images: readonly DiffusionImage[];
  readonly warnings: readonly string[];
}
