/** @file Opens the real models on the CPU device. */

import { createLocalBackend } from "../backends/local.js";
import { openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { digestModel } from "../pipeline/digest.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { openImageReward } from "../rewards/image-reward.js";
import { openDevice } from "../runtime/device.js";
import type { ModelSession } from "./context.js";
import { basename } from "node:path";

/** A session on one device, which both models share. */
export function openModelSession(): ModelSession {
  const device = openDevice();
  device.start();
  return {
    programMs: () => device.runMs,
    async openBackend(directory) {
      const path = directory ?? EMBEDDED_MODELS.generator;
      const model = createLocalBackend(await openStableDiffusion(path, device));
      return {
        model,
        record: { name: model.name, model: model.model.name, path: directory, digest: await digestModel(path) },
      };
    },
    async openReward(given) {
      const path = given ?? EMBEDDED_MODELS.reward;
      const model = await openImageReward(path, device);
      return {
        model,
        record: { name: model.name, model: basename(path), path: given, digest: await digestModel(path) },
      };
    },
    close: () => device.close(),
  };
}
