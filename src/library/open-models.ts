/** @file Opens models ready to be used: the ones that ship inside, or the caller's own. */

import type { ImageBackend } from "../backends/contract.js";
import { createLocalBackend } from "../backends/local.js";
import { openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { type ImageReward, openImageReward } from "../rewards/image-reward.js";
import type { Device } from "../runtime/device.js";

/**
 * Opens a Stable Diffusion folder (diffusers layout) as a source of images. Its programs begin to compile at once; what fails there is reported
 * at the first use.
 * @param directory @default the demo model that ships inside
 * @throws ModelError when the folder is incomplete, damaged or of another kind
 */
export async function openBackend(
  device: Device,
  directory: string = EMBEDDED_MODELS.generator,
): Promise<ImageBackend> {
  const diffusion = await openStableDiffusion(directory, device);
  ahead(diffusion.prepare());
  return createLocalBackend(diffusion);
}

/**
 * Opens an ImageReward file or folder. Its program begins to compile at once; what fails there is reported at the first use.
 * @param path @default the demo model that ships inside
 * @throws ModelError when a part is missing or the weights are of another network
 */
export async function openReward(device: Device, path: string = EMBEDDED_MODELS.reward): Promise<ImageReward> {
  const reward = await openImageReward(path, device);
  ahead(reward.prepare());
  return reward;
}

/** Compiles while the caller goes on; what fails here fails again, and is reported, at first use. */
function ahead(preparation: Promise<void>): void {
  preparation.catch(() => undefined);
}
