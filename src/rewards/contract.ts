/** @file The Reward contract: how well images suit a prompt, as numbers with warnings. */

import type { RgbImage, SourceImage } from "../image/types.js";
import type { Tensor } from "../tensor/tensor.js";
import type { ModelIdentity } from "../weights/identity.js";

/** What {@link Reward.score} gives. */
export interface RewardResult {
  /** One score an image, in the order of the images; higher is better. */
  readonly scores: number[];
  /** What could not be honoured, once a call: for example the part of the prompt that was cut. */
  readonly warnings: string[];
}

/** What a caller may pass beside prompt and images. */
export interface RewardOptions {
  readonly signal?: AbortSignal;
}

/** A model that scores images against a prompt. A score never depends on the images scored beside it. */
export interface Reward {
  /** Short and stable: `image-reward`, `clip-score`. It names the score in files and tables. */
  readonly name: string;
  readonly model: ModelIdentity;
  /** The interval nearly all scores lie in; for axes and colours, not a bound. */
  readonly range: readonly [number, number];
  /**
   * Scores `images` against `prompt`.
   * @throws UsageError for an image it cannot read, CancelledError when `signal` aborts, BackendError when the device died
   */
  score(prompt: string, images: readonly (RgbImage | SourceImage)[], options?: RewardOptions): Promise<RewardResult>;
  /** Gives the compiled programs back. */
  dispose(): Promise<void>;
}

/** Scores and how they change with the pixels. */
export interface RewardGradient {
  readonly scores: number[];
  /** d score_i / d pixels_i, float32, the shape of the pixels. */
  readonly gradient: Tensor<"float32">;
  readonly warnings: string[];
}

/** A reward that can be differentiated through to its pixels. */
export interface DifferentiableReward extends Reward {
  /** Side in pixels of the square images the network reads. */
  readonly imageSize: number;
  /**
   * Scores preprocessed pixels and differentiates each score with respect to its own pixels.
   * @param pixels float32 [N, 3, imageSize, imageSize], normalised as the network reads them (CLIP mean and standard deviation)
   */
  gradient(prompt: string, pixels: Tensor<"float32">, options?: RewardOptions): Promise<RewardGradient>;
}
