/** @file The local backend: Stable Diffusion on this machine's device. */

import type { StableDiffusion } from "../diffusion/stable-diffusion.js";
import { checkRequest } from "./resolve.js";
import type { ImageBackend } from "./contract.js";

/** Most candidates in one group; more would only need more memory. */
const MAXIMUM_BATCH = 64;

/** The backend `local` over an opened model. Its pictures do not depend on the group they are drawn in. */
export function createLocalBackend(model: StableDiffusion): ImageBackend {
  const { defaults, limits } = model;
  const backend: ImageBackend = {
    name: "local",
    model: { name: model.name, path: model.directory },
    capabilities: {
      seeds: "exact",
      cancel: "drawing",
      negativePrompt: true,
      steps: true,
      guidance: true,
      ...limits,
      maximumBatch: MAXIMUM_BATCH,
    },
    defaults: {
      steps: defaults.steps,
      guidance: defaults.guidance,
      sampler: defaults.sampler,
      width: defaults.width,
      height: defaults.height,
      batch: Math.min(defaults.batch, MAXIMUM_BATCH),
    },
    stepwise: model,
    check: (request) => model.check(request),
    async *generate(request, options = {}) {
      checkRequest(backend, request);
      const told = new Set<string>();
      for await (const group of model.generate(request, options)) {
        const warnings = [...model.warnings, ...group.warnings].filter((message) => !told.has(message));
        for (const message of warnings) told.add(message);
        yield { images: group.images, warnings };
      }
    },
    dispose: () => model.dispose(),
  };
  return backend;
}
