/** @file From a request to what all its candidates share: sampler, conditioning, shapes. */

import { openTextualInversion } from "../prompts/textual-inversion.js";
import { createSampler } from "../samplers/sampler.js";
import { throwIfAborted } from "../util/abort.js";
import type { ModelParts } from "./open-model.js";
import type { DiffusionRequest } from "./request.js";
import { isGuided, resolveDiffusionRequest } from "./request.js";
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
  const sampler = createSampler(request.sampler, parts.folder.scheduler, request.steps, { eta: request.eta });
  const { factor, text, unet } = parts.configs;
  const latentShape = [unet.inChannels, request.height / factor, request.width / factor] as const;
  const guided = isGuided(request);
  const negative = guided ? [{ what: "negative prompt", text: request.negativePrompt }] : [];
  const layout = parts.text.layOut([...negative, { what: "prompt", text: request.prompt }], {
    syntax: request.promptSyntax,
    clipSkip: request.clipSkip,
    embeddings: await Promise.all(request.embeddings.map((path) => openTextualInversion(path, text.width))),
  });
  // compiled while the prompt is being encoded; a failure is reported where the program is used
  parts.programs
    .denoiser(latentSize({ latentShape }), layout.length)
    .get()
    .catch(() => undefined);
  const conditioning = await parts.text.encode(layout, signal);
  return { request, sampler, latentShape, guided, conditioning, warnings: [...warnings, ...layout.warnings] };
}
