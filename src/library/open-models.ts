/** @file Opens models ready to be used: the ones that ship inside, or the caller's own. */

import type { ImageBackend } from "../backends/contract.js";
import { createLocalBackend } from "../backends/local.js";
import { type DiffusionModelOptions, openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import type { DifferentiableReward } from "../rewards/contract.js";
import { ImageReward } from "../rewards/image-reward.js";
import type { Device } from "../runtime/device.js";
import { resolveModel } from "./named-models.js";
import { openNamedReward, type RewardPrecision } from "./named-rewards.js";

/**
 * Opens a Stable Diffusion folder (diffusers layout), or a model by its name (`sd-1.5`, `org/repo@revision`), as a source of images. Its programs
 * begin to compile at once; what fails there is reported at the first use.
 * @param directory @default the demo model that ships inside
 * @throws ModelError when the folder is incomplete, damaged or of another kind
 */
export async function openBackend(
  device: Device,
  directory: string = EMBEDDED_MODELS.generator,
  options: DiffusionModelOptions = {},
): Promise<ImageBackend> {
  const diffusion = await openStableDiffusion(await resolveModel(directory), device, options);
  ahead(diffusion.prepare());
  return createLocalBackend(diffusion);
}

/**
 * Opens a reward by its name (`image-reward-v1.0`, `hps`) or a file or folder of any kind that {@link openNamedReward} knows. ImageReward's program
 * begins to compile at once; what fails there is reported at the first use.
 * @param path @default the demo model that ships inside
 * @throws ModelError when a part is missing or the weights are of another network
 */
export async function openReward(
  device: Device,
  path: string = EMBEDDED_MODELS.reward,
  options: RewardPrecision = {},
): Promise<DifferentiableReward> {
  const reward = await openNamedReward(path, device, options);
  if (reward instanceof ImageReward) ahead(reward.prepare());
  return reward;
}

/** Compiles while the caller goes on; what fails here fails again, and is reported, at first use. */
function ahead(preparation: Promise<void>): void {
  preparation.catch(() => undefined);
}
