/** @file What may be asked of a diffusion model, and how it is completed and checked before any work starts. */

import { UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import type { PromptSyntax } from "../prompts/attention-syntax.js";
import type { SamplerName } from "../samplers/sampler.js";
import { MAX_SEED } from "../tensor/random.js";

/** A LoRA as a request names it. */
export interface LoraRequest {
  /** A LoRA file: diffusers', PEFT's or kohya's. */
  readonly path: string;
  /** 1 is what it was trained for, 0 the model without it. @default 1 */
  readonly scale?: number | undefined;
}

/** A request for `count` pictures of one prompt; picture i is drawn from `seed + i`. What is undefined takes the model's default. */
export interface DiffusionRequest {
  readonly prompt: string;
  readonly negativePrompt?: string | undefined;
  readonly seed: number;
  /** @default 1 */
  readonly count?: number | undefined;
  /** Candidates denoised together. It changes the speed, never a result. */
  readonly batch?: number | undefined;
  readonly steps?: number | undefined;
  /** Classifier-free guidance scale; 1 and below follow the prompt alone, with one evaluation a step instead of two. */
  readonly guidance?: number | undefined;
  readonly sampler?: string | undefined;
  /** Share of fresh noise of the ddim sampler, 0 to 1. */
  readonly eta?: number | undefined;
  /** How prompt and negative prompt are read. @default "plain" */
  readonly promptSyntax?: PromptSyntax | undefined;
  /** The text encoder's layer the prompt is taken from, counted from the end as AUTOMATIC1111 does. @default 1, the last */
  readonly clipSkip?: number | undefined;
  /** Files of textual inversion embeddings, for the prompt syntax "a1111". @default none */
  readonly embeddings?: readonly string[] | undefined;
  /** LoRAs added to the denoiser and the text encoder. @default none */
  readonly loras?: readonly LoraRequest[] | undefined;
  /**
   * Lets the denoiser's LoRAs in while it works, for variety: nothing of them at the start, all of their scale from this share of the way from noise to
   * picture on, above 0 to 1. @default all of it throughout
   */
  readonly loraAnneal?: number | undefined;
  /** Pixels. */
  readonly width?: number | undefined;
  /** Pixels. */
  readonly height?: number | undefined;
  /** Picture to start from, resized to the request's size. */
  readonly init?: RgbImage | undefined;
  /**
   * How far to go from `init`, above 0 to 1: the last `floor(steps * strength)` of the steps are taken.
   * @default 0.8, with a mask 1
   */
  readonly strength?: number | undefined;
  /** Where to repaint `init`, resized to the request's size: what is brighter than medium grey is repainted, the rest is kept. */
  readonly mask?: RgbImage | undefined;
}

/** What a model uses where a request says nothing. */
export interface DiffusionDefaults {
  readonly sampler: SamplerName;
  readonly steps: number;
  readonly guidance: number;
  readonly eta: number;
  readonly width: number;
  readonly height: number;
  readonly batch: number;
}

/** A request with nothing left open. */
export interface ResolvedRequest extends DiffusionDefaults {
  readonly prompt: string;
  /** The text guidance moves away from; "" unless asked otherwise. */
  readonly negativePrompt: string;
  readonly promptSyntax: PromptSyntax;
  readonly clipSkip: number;
  readonly embeddings: readonly string[];
  readonly loras: readonly LoraRequest[];
  readonly loraAnneal: number | undefined;
  readonly seed: number;
  readonly count: number;
  readonly init: RgbImage | undefined;
  readonly mask: RgbImage | undefined;
  /** undefined without `init`. */
  readonly strength: number | undefined;
}

/** Most candidates one request may ask for. */
export const MAX_CANDIDATES = 10_000;

/** The sizes that can be drawn, in pixels. */
export interface SizeRule {
  /** Width and height are multiples of it. */
  readonly multiple: number;
  readonly minimum: number;
  readonly maximum: number;
}

/** What bounds a request beyond what any request must meet. */
export interface SettingLimits {
  /** Pictures from a prompt alone. */
  readonly textToImage: boolean;
  /** `init` without `mask`. */
  readonly imageToImage: boolean;
  /** `init` with `mask`. */
  readonly inpainting: boolean;
  /** Names the `sampler` setting may take. */
  readonly samplers: readonly string[];
  /** undefined when the size cannot be asked for. */
  readonly size: SizeRule | undefined;
  /** How prompts can be read. @default plain alone */
  readonly promptSyntaxes?: readonly PromptSyntax[] | undefined;
  /** The largest `clipSkip`. @default 1, which leaves no choice */
  readonly clipSkip?: number | undefined;
  /** Textual inversion embeddings. @default false */
  readonly embeddings?: boolean | undefined;
  /** LoRA files. @default false */
  readonly loras?: boolean | undefined;
  /** The guidance scale is an input of a model that was distilled with it: no negative prompt is read. @default false */
  readonly distilledGuidance?: boolean | undefined;
}

/** Far more than any LoRA is made for. */
const MAX_LORA_SCALE = 100;

/** Strength where a request does not say, as in diffusers' pipelines. */
const DEFAULT_STRENGTH = { imageToImage: 0.8, inpainting: 1 } as const;

/**
 * Completes `request` from `defaults`.
 * @returns the complete request, and warnings for what will have no effect
 * @throws UsageError for a value out of range
 */
export function resolveDiffusionRequest(
  request: DiffusionRequest,
  defaults: DiffusionDefaults,
  limits: SettingLimits & { readonly size: SizeRule },
): { readonly request: ResolvedRequest; readonly warnings: string[] } {
  const { settings, warnings } = settingsOfInit(request, limits.size);
  const filled = {
    prompt: request.prompt,
    negativePrompt: request.negativePrompt ?? "",
    promptSyntax: request.promptSyntax ?? "plain",
    clipSkip: request.clipSkip ?? 1,
    embeddings: request.embeddings ?? [],
    loras: request.loras ?? [],
    loraAnneal: request.loraAnneal,
    seed: request.seed,
    count: request.count ?? 1,
    batch: request.batch ?? defaults.batch,
    steps: request.steps ?? defaults.steps,
    guidance: request.guidance ?? defaults.guidance,
    sampler: request.sampler ?? defaults.sampler,
    eta: request.eta ?? (request.sampler === undefined || request.sampler === defaults.sampler ? defaults.eta : 0),
    width: settings.width ?? defaults.width,
    height: settings.height ?? defaults.height,
    init: request.init,
    mask: request.mask,
    strength: settings.strength,
  };
  checkSettings(filled, limits);
  for (const what of ["loras", "embeddings"] as const) {
    if (limits[what] === false && filled[what].length > 0) {
      throw new UsageError(
        `${what}: expected none, since this model's networks cannot be changed, got ${filled[what].length}`,
      );
    }
  }
  const resolved: ResolvedRequest = { ...filled, sampler: filled.sampler as SamplerName };
  if (resolved.promptSyntax === "plain" && resolved.embeddings.length > 0) {
    warnings.push("embeddings: they have no effect in plain prompts; the prompt syntax a1111 reads them");
  }
  if (resolved.loraAnneal !== undefined && resolved.loras.length === 0) {
    warnings.push("LoRA annealing: it has no effect without a LoRA");
  }
  if (!isGuided(resolved, limits)) {
    if (resolved.negativePrompt !== "") {
      const reason =
        limits.distilledGuidance === true
          ? "on a model that was distilled with guidance"
          : `without guidance (guidance ${resolved.guidance}; above 1 it has)`;
      warnings.push(`negative prompt: it has no effect ${reason}`);
    }
    if (limits.distilledGuidance !== true && resolved.guidance > 0 && resolved.guidance < 1) {
      warnings.push(`guidance ${resolved.guidance}: values up to 1 all follow the prompt alone`);
    }
  }
  return { request: resolved, warnings };
}

/** True when each step evaluates the denoiser twice, with the prompt and with the negative prompt (as diffusers decides it). */
export function isGuided(
  { guidance }: Pick<DiffusionDefaults, "guidance">,
  { distilledGuidance = false }: Pick<SettingLimits, "distilledGuidance">,
): boolean {
  return guidance > 1 && !distilledGuidance;
}

/**
 * What an initial picture decides where the request does not: the size, cut to what can be drawn, and the strength.
 * @param size undefined when the size cannot be asked for
 * @throws UsageError for a picture that is larger than what can be drawn
 */
export function settingsOfInit(
  { init, mask, width, height, strength }: Pick<DiffusionRequest, "init" | "mask" | "width" | "height" | "strength">,
  size: SizeRule | undefined,
): { readonly settings: Pick<DiffusionRequest, "width" | "height" | "strength">; readonly warnings: string[] } {
  if (init === undefined) return { settings: { width, height, strength }, warnings: [] };
  const filled = strength ?? (mask === undefined ? DEFAULT_STRENGTH.imageToImage : DEFAULT_STRENGTH.inpainting);
  if (size === undefined) return { settings: { width, height, strength: filled }, warnings: [] };
  const cut = (side: number): number => Math.max(size.minimum, side - (side % size.multiple));
  if ((width === undefined && init.width > size.maximum) || (height === undefined && init.height > size.maximum)) {
    throw new UsageError(
      `init: expected sides of at most ${size.maximum} pixels, or a width and a height to resize it to, got ${init.width} x ${init.height}`,
    );
  }
  const settings = { width: width ?? cut(init.width), height: height ?? cut(init.height), strength: filled };
  const own =
    (width === undefined && settings.width !== init.width) || (height === undefined && settings.height !== init.height);
  const message = `init: sides are multiples of ${size.multiple} pixels; the picture of ${init.width} x ${init.height} is resized to ${settings.width} x ${settings.height}`;
  return { settings, warnings: own ? [message] : [] };
}

/**
 * The one place where the range of every setting is written down.
 * @throws UsageError naming the first setting that is out of its range
 */
export function checkSettings(request: DiffusionRequest, limits: SettingLimits): void {
  const fail = (what: string, expected: string, actual: unknown): never => {
    throw new UsageError(`${what}: expected ${expected}, got ${String(actual)}`);
  };
  const whole = (what: string, value: number | undefined, minimum: number, maximum = Number.MAX_SAFE_INTEGER): void => {
    if (value === undefined || (Number.isInteger(value) && value >= minimum && value <= maximum)) return;
    const bounds = maximum === Number.MAX_SAFE_INTEGER ? `from ${minimum}` : `from ${minimum} to ${maximum}`;
    fail(what, `a whole number ${bounds}`, value);
  };
  const { count = 1, seed, guidance, sampler } = request;
  whole("count", count, 1, MAX_CANDIDATES);
  whole("seed", seed, 0, MAX_SEED);
  if (seed + count - 1 > MAX_SEED) {
    fail("seed", `at most ${MAX_SEED - count + 1}, so that ${count} candidates have a seed each`, seed);
  }
  whole("batch", request.batch, 1);
  whole("steps", request.steps, 1, 1000);
  if (guidance !== undefined && !(guidance >= 0 && guidance <= 100))
    fail("guidance", "a number from 0 to 100", guidance);
  if (sampler !== undefined && !limits.samplers.includes(sampler)) {
    fail("sampler", `one of ${limits.samplers.join(", ")}`, sampler);
  }
  checkInit(request, limits, fail);
  const { promptSyntax, clipSkip, loraAnneal } = request;
  const { promptSyntaxes = ["plain"], size } = limits;
  if (promptSyntax !== undefined && !promptSyntaxes.includes(promptSyntax)) {
    fail("prompt syntax", `one of ${promptSyntaxes.join(", ")}`, promptSyntax);
  }
  whole("clip skip", clipSkip, 1, limits.clipSkip ?? 1);
  for (const { path, scale = 1 } of request.loras ?? []) {
    if (typeof path !== "string" || path === "") fail("LoRA", "a file", JSON.stringify(path));
    if (!(Math.abs(scale) <= MAX_LORA_SCALE))
      fail(`LoRA ${path}`, `a scale from -${MAX_LORA_SCALE} to ${MAX_LORA_SCALE}`, scale);
  }
  if (loraAnneal !== undefined && !(loraAnneal > 0 && loraAnneal <= 1))
    fail("LoRA annealing", "a number above 0, up to 1", loraAnneal);
  if (size === undefined) return;
  for (const side of ["width", "height"] as const) {
    const value = request[side];
    if (value === undefined) continue;
    if (!Number.isInteger(value) || value < size.minimum || value > size.maximum || value % size.multiple !== 0) {
      fail(side, `a multiple of ${size.multiple} from ${size.minimum} to ${size.maximum} pixels`, value);
    }
  }
}

/** Whether picture, mask and strength go together, and with what can be drawn. */
function checkInit(
  { init, mask, strength, steps }: DiffusionRequest,
  { textToImage, imageToImage, inpainting }: SettingLimits,
  fail: (what: string, expected: string, actual: unknown) => never,
): void {
  if (init === undefined) {
    if (mask !== undefined) fail("mask", "a picture (init) that it is a mask of", "none");
    if (strength !== undefined) fail("strength", "a picture (init) to start from", "none");
    if (!textToImage) fail("init", "a picture and a mask, since this model repaints", "none");
    return;
  }
  if (mask !== undefined && !inpainting) fail("mask", "none, since masks cannot be honoured", "one");
  if (mask === undefined && !imageToImage) {
    if (inpainting) fail("mask", "one, since this model repaints", "none");
    fail("init", "none, since pictures to start from cannot be honoured", "one");
  }
  if (strength === undefined) return;
  if (!(strength > 0 && strength <= 1)) fail("strength", "a number above 0, up to 1", strength);
  if (steps !== undefined && Math.floor(steps * strength) < 1) {
    fail("strength", `at least 1/${steps}, so that one of ${steps} steps is taken`, strength);
  }
}
