/** @file Opens models ready to be used: the ones that ship inside, or the caller's own. */

import type { ImageBackend } from "../backends/contract.js";
import { createLocalBackend } from "../backends/local.js";
import { type DiffusionModelOptions, openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { UsageError } from "../errors.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { type ImageReward, openImageReward } from "../rewards/image-reward.js";
import type { Device } from "../runtime/device.js";
import { resolveModel, resolveReward, resolveRewardPath } from "./named-models.js";

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
 * Opens an ImageReward file or folder, or one by its name (`image-reward-v1.0`). Its program begins to compile at once; what fails there is
 * reported at the first use.
 * @param path @default the demo model that ships inside
 * @throws ModelError when a part is missing or the weights are of another network
 */
export async function openReward(device: Device, path: string = EMBEDDED_MODELS.reward): Promise<ImageReward> {
  const reward = await openImageRewardAt(path, device);
  ahead(reward.prepare());
  return reward;
}

/** From the parts that a name stands for, or from a path. */
async function openImageRewardAt(nameOrPath: string, device: Device): Promise<ImageReward> {
  const named = await resolveReward(nameOrPath);
  if (named === undefined) return openImageReward(await resolveRewardPath(nameOrPath), device);
  const { weights = nameOrPath, config: med, tokenizer } = named.parts;
  if (named.kind !== "image-reward")
    throw new UsageError(`${nameOrPath}: expected an ImageReward, got another reward (${named.kind})`);
  return openImageReward(weights, device, { med, tokenizer });
}

/** Compiles while the caller goes on; what fails here fails again, and is reported, at first use. */
function ahead(preparation: Promise<void>): void {
  preparation.catch(() => undefined);
}
