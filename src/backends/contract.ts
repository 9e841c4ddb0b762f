/** @file The ImageBackend contract: a source of images, with what it can do declared and one way to ask for pictures. */

import type { DiffusionRequest, SettingLimits } from "../diffusion/request.js";
import type { DiffusionGroup, DiffusionImage, DiffusionOptions, DiffusionProgress } from "../diffusion/trajectory.js";
import type { StableDiffusion } from "../diffusion/stable-diffusion.js";
import type { ModelIdentity } from "../weights/identity.js";

export { MAX_CANDIDATES } from "../diffusion/request.js";
export { MAX_SEED } from "../tensor/random.js";

/** What a backend can honour. A setting that is declared `false` comes back as a warning when it is asked for. */
export interface BackendCapabilities extends SettingLimits {
  /**
   * What a seed is good for: `exact` gives the same bytes on the same machine, whatever the group; `requested` is passed on and not promised;
   * `none` cannot be told to the backend.
   */
  readonly seeds: "exact" | "requested" | "none";
  readonly negativePrompt: boolean;
  readonly steps: boolean;
  readonly guidance: boolean;
  /** Most candidates generated together. */
  readonly maximumBatch: number;
  /** What a cancellation stops: nothing but the waiting, or the drawing itself. */
  readonly cancel: "waiting" | "drawing";
  /** Groups that may be drawn at the same time, where each is a request of its own; undefined where they are drawn in turn, each when it is asked for. */
  readonly concurrency?: number;
}

/** The settings of one picture, as used; `undefined` leaves the choice to the backend. */
export type ImageSettings = Required<
  Pick<DiffusionRequest, "steps" | "guidance" | "sampler" | "width" | "height" | "strength">
> &
  Pick<DiffusionRequest, "promptSyntax" | "clipSkip" | "embeddings" | "loras" | "loraAnneal">;

/** A request for `count` pictures of one prompt with every field stated; picture i is drawn from `seed + i`. */
export interface ImageRequest
  extends ImageSettings, Required<Pick<DiffusionRequest, "prompt" | "negativePrompt" | "seed" | "init" | "mask">> {
  readonly count: number;
  /** Candidates generated together: pictures `[0, batch)` are one group, `[batch, 2 batch)` the next. */
  readonly batch: number;
}

/** What is known of a picture beyond what was asked for. */
export interface Provenance {
  /** The seed that a server says it used; null when it did not say, undefined where seeds are our own. */
  readonly reportedSeed?: number | null | undefined;
  /** The prompt as a server rewrote it before drawing. */
  readonly revisedPrompt?: string | undefined;
  /** Where the picture was taken from: a file, or the server that drew it. */
  readonly source?: string | undefined;
}

/** One finished picture, decoded: nothing downstream decodes what was just encoded. `evaluations` is 0 where the backend cannot know. */
export interface GeneratedImage extends DiffusionImage, Provenance {}

/** Pictures that became ready together, at most `request.batch` of them; its warnings tell of settings that were not honoured. */
export interface GeneratedGroup extends DiffusionGroup {
  readonly images: readonly GeneratedImage[];
}

/** How far the group in the making is. */
export type GenerationProgress = DiffusionProgress;

/** What a caller may pass beside the request. */
export type GenerateOptions = DiffusionOptions;

/** A model whose pictures can be followed from noise to the end, looked at on the way, sent on or left, and followed back by gradients. */
export type StepwiseModel = Pick<
  StableDiffusion,
  | "begin"
  | "start"
  | "step"
  | "preview"
  | "fork"
  | "decode"
  | "operations"
  | "scoreGradient"
  | "pullBack"
  | "gradientOperations"
>;

/**
 * A source of images. `generate` is an async generator rather than a promise of all candidates, so that a strategy can score and store one
 * group while the next is being drawn, and stop early by returning from the loop.
 */
export interface ImageBackend {
  readonly name: string;
  readonly model: ModelIdentity;
  readonly capabilities: BackendCapabilities;
  /** What the backend uses where a request says nothing. */
  readonly defaults: Omit<ImageSettings, "strength"> & { readonly batch: number };
  /** Checks what takes more than the request itself to tell, such as files it names. @throws UsageError, ModelError */
  check?(request: ImageRequest): Promise<void>;
  /**
   * Draws `request.count` pictures, in groups of `request.batch`. Which group a picture is drawn in follows from the request alone.
   * @throws CancelledError when `signal` aborts; UsageError for a request outside the capabilities; BackendError when the backend died.
   */
  generate(request: ImageRequest, options?: GenerateOptions): AsyncGenerator<GeneratedGroup, void>;
  /** Drawing step by step, for strategies that look at a picture on its way; only where the model is in this process's hands. */
  readonly stepwise?: StepwiseModel | undefined;
  /** The prompts that the backend's own pictures carry, each once; only where it draws nothing itself. */
  prompts?(): AsyncIterable<string>;
  /**
   * Asks whether the backend can be reached with the credentials it has, where that costs nothing.
   * @returns what was found, one line a server
   * @throws HttpError when no server of it can be used
   */
  probe?(signal?: AbortSignal): Promise<readonly string[]>;
  /** Gives back what it holds; not to be used afterwards. */
  dispose(): Promise<void>;
}
