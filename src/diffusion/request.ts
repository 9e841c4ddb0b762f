/** @file What may be asked of a diffusion model, and how it is completed and checked before any work starts. */

import { UsageError } from "../errors.js";
import { isSamplerName, SAMPLER_NAMES, type SamplerName } from "../samplers/sampler.js";
import { MAX_SEED } from "../tensor/random.js";

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
  /** Pixels. */
  readonly width?: number | undefined;
  /** Pixels. */
  readonly height?: number | undefined;
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
  readonly seed: number;
  readonly count: number;
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
  /** Names the `sampler` setting may take. */
  readonly samplers: readonly string[];
  /** undefined when the size cannot be asked for. */
  readonly size: SizeRule | undefined;
}

/**
 * Completes `request` from `defaults`.
 * @returns the complete request, and warnings for what will have no effect
 * @throws UsageError for a value out of range
 */
export function resolveDiffusionRequest(
  request: DiffusionRequest,
  defaults: DiffusionDefaults,
  size: SizeRule,
): { readonly request: ResolvedRequest; readonly warnings: string[] } {
  const resolved: ResolvedRequest = {
    prompt: request.prompt,
    negativePrompt: request.negativePrompt ?? "",
    seed: request.seed,
    count: request.count ?? 1,
    batch: request.batch ?? defaults.batch,
    steps: request.steps ?? defaults.steps,
    guidance: request.guidance ?? defaults.guidance,
    sampler: samplerName(request.sampler) ?? defaults.sampler,
    eta: request.eta ?? (request.sampler === undefined || request.sampler === defaults.sampler ? defaults.eta : 0),
    width: request.width ?? defaults.width,
    height: request.height ?? defaults.height,
  };
  checkSettings(resolved, { samplers: SAMPLER_NAMES, size });
  const warnings: string[] = [];
  if (!isGuided(resolved)) {
    if (resolved.negativePrompt !== "") {
      warnings.push(
        `negative prompt: it has no effect without guidance (guidance ${resolved.guidance}; above 1 it has)`,
      );
    }
    if (resolved.guidance > 0 && resolved.guidance < 1) {
      warnings.push(`guidance ${resolved.guidance}: values up to 1 all follow the prompt alone`);
    }
  }
  return { request: resolved, warnings };
}

/** True when each step evaluates the denoiser twice, with the prompt and with the negative prompt (as diffusers decides it). */
export function isGuided(request: { readonly guidance: number }): boolean {
  return request.guidance > 1;
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
  const { size } = limits;
  if (size === undefined) return;
  for (const side of ["width", "height"] as const) {
    const value = request[side];
    if (value === undefined) continue;
    if (!Number.isInteger(value) || value < size.minimum || value > size.maximum || value % size.multiple !== 0) {
      fail(side, `a multiple of ${size.multiple} from ${size.minimum} to ${size.maximum} pixels`, value);
    }
  }
}

function samplerName(name: string | undefined): SamplerName | undefined {
  if (name === undefined || isSamplerName(name)) return name;
  throw new UsageError(`sampler: expected one of ${SAMPLER_NAMES.join(", ")}, got ${name}`);
}
