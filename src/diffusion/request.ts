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

/** Bounds that come from the networks. */
export interface SizeRule {
  /** Width and height are multiples of it, in pixels. */
  readonly multiple: number;
  readonly maximum: number;
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
  checkWhole("count", resolved.count, 1, MAX_SEED + 1);
  checkWhole("batch", resolved.batch, 1, Number.MAX_SAFE_INTEGER);
  checkWhole("seed", resolved.seed, 0, MAX_SEED);
  if (resolved.seed + resolved.count - 1 > MAX_SEED) {
    throw new UsageError(
      `seed: expected at most ${MAX_SEED - resolved.count + 1}, so that ${resolved.count} candidates have a seed each, got ${resolved.seed}`,
    );
  }
  if (!Number.isFinite(resolved.guidance) || resolved.guidance < 0) {
    throw new UsageError(`guidance: expected a number from 0, got ${resolved.guidance}`);
  }
  for (const side of ["width", "height"] as const) {
    const value = resolved[side];
    if (!Number.isInteger(value) || value < size.multiple || value > size.maximum || value % size.multiple !== 0) {
      throw new UsageError(
        `${side}: expected a multiple of ${size.multiple} from ${size.multiple} to ${size.maximum} pixels, got ${value}`,
      );
    }
  }
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

function samplerName(name: string | undefined): SamplerName | undefined {
  if (name === undefined || isSamplerName(name)) return name;
  throw new UsageError(`sampler: expected one of ${SAMPLER_NAMES.join(", ")}, got ${name}`);
}

function checkWhole(name: string, value: number, minimum: number, maximum: number): void {
  if (!Number.isInteger(value) || value < minimum || value > maximum) {
    throw new UsageError(`${name}: expected a whole number from ${minimum} to ${maximum}, got ${value}`);
  }
}
