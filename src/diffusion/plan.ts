/** @file From a request to what all its candidates share: sampler, conditioning, shapes. */

import { ADDED_SIZES } from "../models/unet-2d-condition.js";
import { openTextualInversion } from "../prompts/textual-inversion.js";
import { createSampler } from "../samplers/sampler.js";
import { float32 } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import type { ModelParts } from "./open-model.js";
import type { DiffusionRequest, ResolvedRequest } from "./request.js";
import { type EncodedInit } from "./init-encoder.js";
import { schedulerFor } from "./model-folder.js";
import { embedGuidance } from "./guidance.js";
import { annealedWeight, networkLoras } from "./lora.js";
import { isGuided, resolveDiffusionRequest } from "./request.js";
import type { Conditioning, PromptLayout } from "./text-conditioning.js";
import { type DiffusionOptions, latentSize, type Trajectory } from "./trajectory.js";

/**
 * Completes the request, encodes its prompts and makes its sampler.
 * @throws UsageError for a request out of range, CancelledError when the signal aborts
 */
export async function planTrajectory(
  parts: ModelParts,
  open: DiffusionRequest,
  { signal }: DiffusionOptions,
): Promise<Trajectory> {
  throwIfAborted(signal);
  const { request, warnings } = resolveDiffusionRequest(open, parts.defaults, parts.limits);
  const { factor, autoencoder } = parts.configs;
  const { init, mask, steps, strength = 1, eta } = request;
  const start = steps - Math.floor(steps * strength);
  const sampler = createSampler(request.sampler, schedulerFor(parts.folder, mask !== undefined), steps, { eta, start });
  const trained = parts.folder.scheduler.num_train_timesteps;
  const loraWeights = sampler.timesteps.map((t) =>
    annealedWeight(t, trained, request.loras.length === 0 ? undefined : request.loraAnneal),
  );
  const latentShape = [autoencoder.latentChannels, request.height / factor, request.width / factor] as const;
  const { timeConditionWidth } = parts.configs.unet;
  const guidanceEmbedding =
    timeConditionWidth === undefined ? undefined : embedGuidance(request.guidance, timeConditionWidth);
  const guided = isGuided(request, parts.limits);
  const loras = await parts.loras.open(request.loras);
  const layout = await layOutPrompts(parts, request);
  // compiled while the prompt is being encoded; a failure is reported where the program is used
  parts.programs
    .denoiser(latentSize({ latentShape }), layout.length, networkLoras(loras.unet))
    .get()
    .catch(() => undefined);
  const encoding = init === undefined ? undefined : parts.initEncoder.encode({ ...request, init }, signal);
  const [conditioning, encoded] = await Promise.all([parts.text.encode(layout, { signal, loras }), encoding]);
  warnings.push(...layout.warnings, ...maskWarnings(encoded));
  return {
    request,
    sampler,
    latentShape,
    guided,
    guidanceEmbedding,
    conditioning: conditioning.states,
    added: addedConditioning(conditioning, request),
    init: encoded,
    loras,
    loraWeights,
    warnings,
  };
}

/**
 * Opens the embeddings and reads the prompts: the negative one and the prompt, or where there is no guidance the prompt alone.
 * @throws UsageError for wrong syntax, ModelError for an embedding that is none or for another text encoder
 */
export async function layOutPrompts(parts: ModelParts, request: ResolvedRequest): Promise<PromptLayout> {
  const { promptSyntax, clipSkip, embeddings } = request;
  const negative = { what: "negative prompt", text: request.negativePrompt, negative: true };
  const prompt = { what: "prompt", text: request.prompt };
  return parts.text.layOut(isGuided(request, parts.limits) ? [negative, prompt] : [prompt], {
    syntax: promptSyntax,
    clipSkip,
    embeddings: await Promise.all(
      parts.configs.texts.map((network, i) =>
        Promise.all(embeddings.map((path) => openTextualInversion(path, network.config.width, parts.embeddingKeys[i]))),
      ),
    ),
  });
}

/**
 * What an XL's denoiser reads beside the tokens' states. The picture counts as drawn whole at its own size: original size and target size are the
 * request's, nothing is cropped, as the reference pipeline has it by default.
 */
function addedConditioning({ pooled }: Conditioning, { width, height }: ResolvedRequest): Trajectory["added"] {
  if (pooled === undefined) return undefined;
  const [prompts = 0] = pooled.shape;
  const sizes = Array.from({ length: prompts }, () => [height, width, 0, 0, height, width]).flat();
  return { pooled, sizes: float32([prompts, ADDED_SIZES], sizes) };
}

function maskWarnings(encoded: EncodedInit | undefined): string[] {
  const nothing = encoded?.repaint?.mask.every((share) => share === 0) ?? false;
  return nothing ? ["mask: nothing is repainted, since no part of it is brighter than medium grey"] : [];
}
