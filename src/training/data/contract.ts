/** @file What a training reads: preference pairs and pictures with prompts, one at a time by number, so that memory holds no more than a batch. */

import type { RgbImage } from "../../image/types.js";

/** Two pictures of one prompt, of which the first was preferred. */
export interface PreferencePair {
  readonly prompt: string;
  readonly better: RgbImage;
  readonly worse: RgbImage;
}

/** A picture with its prompt. */
export interface PromptedImage {
  readonly prompt: string;
  readonly image: RgbImage;
  /** What a reward gave it; null where the data say nothing. */
  readonly score: number | null;
}

/** Samples by number, decoded when asked for. */
export interface Samples<Sample> {
  readonly length: number;
  /** What was left out or could not be taken as it is meant. */
  readonly warnings: readonly string[];
  /** Sample `index`, from 0 to `length - 1`. @throws UsageError naming the file, and the row or line, that cannot be read */
  at(index: number): Promise<Sample>;
}

/** Pairs of pictures, ties left out. */
export type PreferencePairs = Samples<PreferencePair>;

/** Pictures with prompts. */
export interface ImageSet extends Samples<PromptedImage> {
  /** The prompt and the score of sample `index`, without decoding its picture. @throws UsageError for a number out of range */
  facts(index: number): Pick<PromptedImage, "prompt" | "score">;
}
