/** @file The ImageBackend contract: a source of images, with what it can do declared and one way to ask for pictures. */

import type { RgbImage } from "../image/types.js";

export { MAX_SEED } from "../tensor/random.js";

/** Most candidates one request may ask for. */
export const MAX_CANDIDATES = 10_000;

/** What a backend can honour. A setting that is declared `false` comes back as a warning when it is asked for. */
export interface BackendCapabilities {
  /** The same seed gives the same bytes on the same machine. */
  readonly deterministic: boolean;
  readonly negativePrompt: boolean;
  readonly steps: boolean;
  readonly guidance: boolean;
  /** Names the `sampler` setting may take; empty when the backend chooses itself. */
  readonly samplers: readonly string[];
  /** Sizes it can draw, in pixels; undefined when the backend chooses itself. */
  readonly size: { readonly multiple: number; readonly minimum: number; readonly maximum: number } | undefined;
  /** Most candidates generated together. */
  readonly maximumBatch: number;
}

/** The settings of one picture, as used. */
export interface ImageSettings {
  readonly steps: number | undefined;
  readonly guidance: number | undefined;
  readonly sampler: string | undefined;
  /** Pixels. */
  readonly width: number | undefined;
  /** Pixels. */
  readonly height: number | undefined;
}

/** A request for `count` pictures of one prompt; picture i is drawn from `seed + i`. `undefined` leaves the choice to the backend. */
export interface ImageRequest extends ImageSettings {
  readonly prompt: string;
  readonly negativePrompt: string | undefined;
  readonly seed: number;
  readonly count: number;
  /** Candidates generated together: pictures `[0, batch)` are one group, `[batch, 2 batch)` the next. */
  readonly batch: number;
}

/** One finished picture. */
export interface GeneratedImage {
  readonly seed: number;
  /** Decoded pixels: nothing downstream decodes what was just encoded. */
  readonly image: RgbImage;
  /** Evaluations of the denoiser that this picture cost (guidance counts twice); 0 where the backend cannot know. */
  readonly evaluations: number;
}

/** Pictures that became ready together, at most `request.batch` of them. */
export interface GeneratedGroup {
  readonly images: readonly GeneratedImage[];
  /** Settings that were not honoured, prompts that were cut, ... */
  readonly warnings: readonly string[];
}

/** How far the group in the making is. */
export interface GenerationProgress {
  readonly step: number;
  readonly steps: number;
  /** Candidates in this group. */
  readonly candidates: number;
}

/** What a caller may pass beside the request. */
export interface GenerateOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: GenerationProgress) => void) | undefined;
}

/** Which weights a result came from. */
export interface ModelIdentity {
  readonly name: string;
  /** Folder or file, absolute; undefined for a remote service. */
  readonly path: string | undefined;
}

/**
 * A source of images. `generate` is an async generator rather than a promise of all candidates, so that a strategy can score and store one
 * group while the next is being drawn, and stop early by returning from the loop.
 */
export interface ImageBackend {
  readonly name: string;
  readonly model: ModelIdentity;
  readonly capabilities: BackendCapabilities;
  /** What the backend uses where a request says nothing. */
  readonly defaults: ImageSettings & { readonly batch: number };
  /**
   * Draws `request.count` pictures, in groups of `request.batch`. Which group a picture is drawn in follows from the request alone.
   * @throws CancelledError when `signal` aborts; UsageError for a request outside the capabilities; BackendError when the backend died.
   */
  generate(request: ImageRequest, options?: GenerateOptions): AsyncGenerator<GeneratedGroup, void>;
  dispose(): Promise<void>;
}
