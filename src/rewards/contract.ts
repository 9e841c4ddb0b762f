/** @file The Reward contract: how well images suit a prompt, as numbers with warnings. */

import type { Value } from "../graph/types.js";
import type { Preprocessing } from "../image/preprocess.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { Scope } from "../nn/scope.js";
import type { Tensor } from "../tensor/tensor.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import type { ModelIdentity } from "../weights/identity.js";
import type { WeightEntry } from "../weights/types.js";

/** What {@link Reward.score} gives. */
export interface RewardResult {
  /** One score an image, in the order of the images; higher is better. */
  readonly scores: number[];
  /** What could not be honoured, once a call: for example the part of the prompt that was cut. */
  readonly warnings: string[];
  /** Of an ensemble, the scores of each member by its name, as the member gives them. */
  readonly members?: Readonly<Record<string, readonly number[]>> | undefined;
  /** Scores by rewards that choose nothing, by their names. */
  readonly heldOut?: Readonly<Record<string, readonly number[]>> | undefined;
}

/** Where a reward's scores lie: an ensemble takes (score - mean) / std, so that weights mean the same for all of its members. */
export interface ScoreReference {
  readonly mean: number;
  readonly std: number;
  /** What they are of, in a few words. */
  readonly source: string;
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
  /** Undefined where nothing is known of its scores: then an ensemble has to be told. */
  readonly reference?: ScoreReference | undefined;
  /** Calls of `score` that may be under way at once; undefined where a device works on one at a time. */
  readonly concurrency?: number | undefined;
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

/** What {@link RewardNetwork.textFeeds} gives. */
export interface TextFeeds {
  /** A row a prompt, by the names of the graph's text inputs. */
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** What of the prompts could not be read, once a prompt. */
  readonly warnings: string[];
}

/** A reward's network as a part of a larger, differentiable graph. */
export interface RewardNetwork {
  /** Side in pixels of the square images it reads. */
  readonly imageSize: number;
  /** How an image becomes its pixels. */
  readonly preprocessing: Preprocessing;
  /**
   * How it reads prompts; its inputs named `ids` and `mask` are fed what an encoding has under these names. Undefined for a network without text, or
   * made of several.
   */
  readonly tokenizer: DescribedTokenizer | undefined;
  /** Where its weights lie, by parameter name below the scope's prefix. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
  /**
   * Pixels float32 `[N, 3, imageSize, imageSize]`, normalised, to scores `[N]`, without mixing rows. Declares its text inputs as graph inputs
   * named {@link inputName}`(scope.prefix, input)`; they have N rows. Only differentiable ops when `scope.mode` is "training".
   */
  build(scope: Scope, pixels: Value): Value;
  /** Feeds of the text inputs of a network built under `prefix`. @throws UsageError for a prompt it cannot read */
  textFeeds(prefix: string, prompts: readonly string[]): TextFeeds;
}

/** Name of an input of a network built under `prefix`: `reward.clip-score.ids`; the name alone at the root. */
export function inputName(prefix: string, name: string): string {
  return prefix === "" ? name : `${prefix}.${name}`;
}

/** A reward that can be differentiated through to its pixels. */
export interface DifferentiableReward extends Reward {
  /** For graphs that go on from the score, or lead to the pixels. */
  readonly network: RewardNetwork;
  /** Side in pixels of the square images the network reads. */
  readonly imageSize: number;
  /**
   * Scores preprocessed pixels and differentiates each score with respect to its own pixels.
   * @param pixels float32 [N, 3, imageSize, imageSize], normalised as the network reads them (CLIP mean and standard deviation)
   */
  gradient(prompt: string, pixels: Tensor<"float32">, options?: RewardOptions): Promise<RewardGradient>;
}
