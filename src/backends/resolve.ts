/** @file Turns what a user asked for into a complete, checked request before any work starts. */

import { UsageError } from "../errors.js";
import { checkSettings, type DiffusionRequest, settingsOfInit } from "../diffusion/request.js";
import { promptMeaning } from "../prompts/attention-syntax.js";
import type { ImageBackend, ImageRequest } from "./contract.js";

/** A request whose settings may still be open. */
export type OpenRequest = Omit<DiffusionRequest, "eta"> & Pick<ImageRequest, "count">;

/** The defaults of a backend that says nothing of its own: every setting is its choice, and pictures are drawn one by one. */
export const NO_DEFAULTS: ImageBackend["defaults"] = {
  steps: undefined,
  guidance: undefined,
  sampler: undefined,
  width: undefined,
  height: undefined,
  batch: 1,
};

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
      warnings.push(`${backend.name}: ${name} is not supported and was left out, got ${described(value)}`);
    return undefined;
  };
  const mask = supported("a mask", capabilities.inpainting, open.mask, undefined);
  // a model that only repaints refuses the request further down: without its picture nothing is left of it
  const startsFrom = mask !== undefined || capabilities.imageToImage || !capabilities.textToImage;
  const init = supported("a picture to start from", startsFrom, open.init, undefined);
  const strength = supported("strength", startsFrom, open.strength, undefined);
  const started = settingsOfInit({ ...open, init, mask, strength }, capabilities.size);
  warnings.push(...started.warnings);
  const request: ImageRequest = {
    prompt: open.prompt,
    negativePrompt: supported("a negative prompt", capabilities.negativePrompt, open.negativePrompt, undefined),
    promptSyntax: supported(
      "the prompt syntax",
      (capabilities.promptSyntaxes ?? ["plain"]).includes(open.promptSyntax ?? "plain"),
      open.promptSyntax,
      undefined,
    ),
    clipSkip: supported("clip skip", (capabilities.clipSkip ?? 1) > 1, open.clipSkip, undefined),
    embeddings: supported("an embedding", capabilities.embeddings ?? false, open.embeddings, undefined),
    loras: supported("a LoRA", capabilities.loras ?? false, open.loras, undefined),
    loraAnneal: supported("LoRA annealing", capabilities.loras ?? false, open.loraAnneal, undefined),
    seed: open.seed,
    count: open.count,
    steps: supported("steps", capabilities.steps, open.steps, defaults.steps),
    guidance: supported("guidance", capabilities.guidance, open.guidance, defaults.guidance),
    sampler: supported("sampler", capabilities.samplers.length > 0, open.sampler, defaults.sampler),
    width: supported("width", capabilities.size !== undefined, started.settings.width, defaults.width),
    height: supported("height", capabilities.size !== undefined, started.settings.height, defaults.height),
    init,
    mask,
    strength: started.settings.strength,
    batch: Math.min(open.batch ?? defaults.batch, capabilities.maximumBatch),
  };
  if (open.batch !== undefined && open.batch > capabilities.maximumBatch) {
    warnings.push(`${backend.name}: batch was lowered to its limit ${capabilities.maximumBatch}, got ${open.batch}`);
  }
  checkRequest(backend, request);
  if (!hasWords(request)) warnings.push(`prompt: expected words, got ${JSON.stringify(request.prompt)}`);
  return { request, warnings };
}

/** @throws UsageError when `request` is outside what any backend, or this one, can draw. */
export function checkRequest({ capabilities }: ImageBackend, request: ImageRequest): void {
  if (request.prompt.trim() === "") throw new UsageError("prompt: expected some text, got an empty prompt");
  if (promptMeaning(request.prompt, request.promptSyntax ?? "plain") === "") {
    throw new UsageError(`prompt: expected some text, got nothing but syntax: ${JSON.stringify(request.prompt)}`);
  }
  checkSettings(request, capabilities);
}

/** Whether there is a letter, a digit or a picture sign in what a prompt says. */
function hasWords({ prompt, promptSyntax = "plain" }: ImageRequest): boolean {
  return /[\p{L}\p{N}\p{Extended_Pictographic}]/u.test(promptMeaning(prompt, promptSyntax));
}

/** A setting's value as a warning shows it. */
function described(value: unknown): string {
  if (Array.isArray(value)) return value.map((one: unknown) => (isNamed(one) ? one.path : String(one))).join(", ");
  return typeof value === "object" ? "a picture" : String(value);
}

function isNamed(value: unknown): value is { readonly path: string } {
  return typeof value === "object" && value !== null && "path" in value;
}
