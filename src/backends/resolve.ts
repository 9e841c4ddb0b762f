/** @file Turns what a user asked for into a complete, checked request before any work starts. */

import { UsageError } from "../errors.js";
import type { ImageBackend, ImageRequest } from "./contract.js";
import { MAX_CANDIDATES, MAX_SEED } from "./contract.js";

/** A request whose open settings are still undefined. */
export type OpenRequest = Omit<ImageRequest, "batch"> & { readonly batch: number | undefined };

/** Fills in the backend's defaults; a setting the backend cannot honour becomes undefined and a warning. @throws UsageError */
export function resolveRequest(
  backend: ImageBackend,
  open: OpenRequest,
): { readonly request: ImageRequest; readonly warnings: readonly string[] } {
  const { capabilities, defaults } = backend;
  const warnings: string[] = [];
  const supported = <T>(name: string, able: boolean, value: T | undefined, fallback: T | undefined): T | undefined => {
    if (able) return value ?? fallback;
    if (value !== undefined)
      warnings.push(`${backend.name}: ${name} is not supported and was left out, got ${String(value)}`);
    return undefined;
  };
  const request: ImageRequest = {
    prompt: open.prompt,
    negativePrompt: supported("a negative prompt", capabilities.negativePrompt, open.negativePrompt, undefined),
    seed: open.seed,
    count: open.count,
    steps: supported("steps", capabilities.steps, open.steps, defaults.steps),
    guidance: supported("guidance", capabilities.guidance, open.guidance, defaults.guidance),
    sampler: supported("sampler", capabilities.samplers.length > 0, open.sampler, defaults.sampler),
    width: supported("width", capabilities.size !== undefined, open.width, defaults.width),
    height: supported("height", capabilities.size !== undefined, open.height, defaults.height),
    batch: Math.min(open.batch ?? defaults.batch, capabilities.maximumBatch),
  };
  if (open.batch !== undefined && open.batch > capabilities.maximumBatch) {
    warnings.push(`${backend.name}: batch was lowered to its limit ${capabilities.maximumBatch}, got ${open.batch}`);
  }
  checkRequest(backend, request);
  return { request, warnings };
}

/** @throws UsageError when `request` is outside what any backend, or this one, can draw. */
export function checkRequest(backend: ImageBackend, request: ImageRequest): void {
  const { capabilities } = backend;
  const fail = (what: string, expected: string, actual: unknown): never => {
    throw new UsageError(`${what}: expected ${expected}, got ${String(actual)}`);
  };
  if (request.prompt.trim() === "") fail("prompt", "some text", "an empty prompt");
  if (!isInteger(request.count, 1, MAX_CANDIDATES))
    fail("count", `a whole number from 1 to ${MAX_CANDIDATES}`, request.count);
  if (!isInteger(request.seed, 0, MAX_SEED)) fail("seed", `a whole number from 0 to ${MAX_SEED}`, request.seed);
  if (request.seed + request.count - 1 > MAX_SEED) {
    fail(
      "seed",
      `at most ${MAX_SEED - request.count + 1}, so that ${request.count} candidates have a seed each`,
      request.seed,
    );
  }
  if (!isInteger(request.batch, 1, Number.MAX_SAFE_INTEGER)) fail("batch", "a whole number from 1", request.batch);
  if (request.steps !== undefined && !isInteger(request.steps, 1, 1000))
    fail("steps", "a whole number from 1 to 1000", request.steps);
  if (request.guidance !== undefined && !(request.guidance >= 0 && request.guidance <= 100)) {
    fail("guidance", "a number from 0 to 100", request.guidance);
  }
  if (request.sampler !== undefined && !capabilities.samplers.includes(request.sampler)) {
    fail("sampler", `one of ${capabilities.samplers.join(", ")}`, request.sampler);
  }
  const { size } = capabilities;
  if (size === undefined) return;
  for (const side of ["width", "height"] as const) {
    const value = request[side];
    if (value === undefined) continue;
    if (!isInteger(value, size.minimum, size.maximum) || value % size.multiple !== 0) {
      fail(side, `a multiple of ${size.multiple} from ${size.minimum} to ${size.maximum} pixels`, value);
    }
  }
}

function isInteger(value: number, minimum: number, maximum: number): boolean {
  return Number.isInteger(value) && value >= minimum && value <= maximum;
}
