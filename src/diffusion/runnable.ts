/** @file The networks of a model as they are run, whatever they were made from: a graph with weights, or an ONNX file. */

import type { Program } from "../runtime/program.js";
import type { NetworkLora } from "./lora.js";
import type { LatentSize } from "./networks.js";
import type { PictureJudge } from "./score-gradient.js";
import type { TextVariant } from "./text-networks.js";

/** A network that can be run. */
export type Runnable = Pick<Program, "run"> & { readonly inputs: readonly { readonly name: string }[] };

/** A network that is loaded when it is asked for. */
export interface LazyRunnable {
  get(): Promise<Runnable>;
}

/** The networks of a model. */
export interface Networks {
  /**
   * The text encoder of an index: `ids` int64 [1, window], where `replacing` `given` and `vectors`, and the scales of the LoRAs -> `states`, for some
   * `unskipped` and `pooled`
   */
  text(index: number, variant: TextVariant, loras?: readonly NetworkLora[]): LazyRunnable;
  /** `sample`, `timestep`, `conditioning` of `length` tokens, `row`, what else its architecture reads, and the scales of the LoRAs -> `prediction` */
  denoiser(size: LatentSize, length: number, loras?: readonly NetworkLora[]): LazyRunnable;
  /**
   * What `denoiser` reads and `upstream` -> `gradient` of its sample: the gradient of `sum(upstream * prediction)`
   * @throws UsageError when the model has no gradients
   */
  denoiserGradient(size: LatentSize, length: number, loras?: readonly NetworkLora[]): LazyRunnable;
  /** `latents` of one picture and the judge's inputs -> `score`, `gradient` of the latents. @throws UsageError when the model has no gradients */
  scoreGradient(size: LatentSize, judge: PictureJudge): LazyRunnable;
  /** `latents` -> `image` */
  decoder(size: LatentSize): LazyRunnable;
  /**
   * `image` of a size in pixels -> `mean`, `logVariance`. Not kept: its caller disposes of it.
   * @throws ModelError when the model has no image encoder
   */
  encoder(width: number, height: number): Promise<Runnable & { dispose(): Promise<void> }>;
  /** Loads ahead what a plain prompt at the model's own size needs. */
  prepare(): Promise<void>;
  /** Gives everything back; what is asked for later is loaded anew. */
  dispose(): Promise<void>;
}
