/** @file From a request to what all its candidates share: sampler, conditioning, shapes. */

import { createSampler } from "../samplers/sampler.js";
import { float32 } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import type { ModelParts } from "./open-model.js";
import type { DiffusionRequest } from "./request.js";
import { isGuided, resolveDiffusionRequest } from "./request.js";
import { truncationWarnings } from "./text-conditioning.js";
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
  const { request, warnings } = resolveDiffusionRequest(open, parts.defaults, parts.size);
  const sampler = createSampler(request.sampler, parts.folder.scheduler, request.steps, { eta: request.eta });
  const { factor, text, unet } = parts.configs;
  const latentShape = [unet.inChannels, request.height / factor, request.width / factor] as const;
  const guided = isGuided(request);
  // compiled while the prompt is being encoded; a failure is reported where the program is used
  parts.programs
    .forSize(latentSize({ latentShape }))
    .denoiser.get()
    .catch(() => undefined);
  const texts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
  const encoded = await Promise.all(texts.map((prompt) => parts.text.encode(prompt, signal)));
  const length = encoded[0]!.states.length / text.width;
  const states = new Float32Array(texts.length * length * text.width);
  encoded.forEach((one, i) => {
    states.set(one.states, i * length * text.width);
    warnings.push(...truncationWarnings(i === texts.length - 1 ? "prompt" : "negative prompt", one));
  });
  const conditioning = float32([texts.length, length, text.width], states);
  return { request, sampler, latentShape, guided, conditioning, warnings };
}
