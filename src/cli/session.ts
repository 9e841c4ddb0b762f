/** @file Opens the real models on the CPU device. */

import { basename } from "node:path";
import { digestModel } from "../pipeline/digest.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { openDevice } from "../runtime/device.js";
import type { ModelSession } from "./context.js";

/** A session on one device, which both models share. The device's process starts while the code of the models is still being loaded. */
export function openModelSession(): ModelSession {
  const device = openDevice();
  device.start();
  return {
    programMs: () => device.runMs,
    async openBackend(directory) {
      const path = directory ?? EMBEDDED_MODELS.generator;
      const { openStableDiffusion } = await import("../diffusion/stable-diffusion.js");
      const { createLocalBackend } = await import("../backends/local.js");
      const diffusion = await openStableDiffusion(path, device);
      ahead(diffusion.prepare());
      const model = createLocalBackend(diffusion);
      const digest = await digestModel(path);
      return { model, record: { name: model.name, model: model.model.name, path: directory, digest } };
    },
    async openReward(given) {
      const path = given ?? EMBEDDED_MODELS.reward;
      const { openImageReward } = await import("../rewards/image-reward.js");
      const model = await openImageReward(path, device);
      ahead(model.prepare());
      return {
        model,
        record: { name: model.name, model: basename(path), path: given, digest: await digestModel(path) },
      };
    },
    close: () => device.close(),
  };
}

/** Compiles while files are being hashed; what fails here fails again, and is reported, at first use. */
function ahead(preparation: Promise<void>): void {
  preparation.catch(() => undefined);
}
