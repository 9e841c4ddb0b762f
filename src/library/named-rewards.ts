/** @file Rewards by name or path: those of the demo world have names, others are a file or folder. */

import { join } from "node:path";
import { UsageError } from "../errors.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { type ClipScore, openClipScore } from "../rewards/clip-score.js";
import type { DifferentiableReward, Reward } from "../rewards/contract.js";
import { type ImageReward, openImageReward } from "../rewards/image-reward.js";
import type { Device } from "../runtime/device.js";
import { parseJson, readTextIfThere } from "../util/read-file.js";

/** The rewards that ship inside, by name. */
const EMBEDDED: Readonly<Record<string, string>> = {
  "image-reward": EMBEDDED_MODELS.reward,
  "clip-score": EMBEDDED_MODELS.judge,
};

/** The names of the rewards that ship inside; whatever else names a reward is a path. */
export const REWARD_NAMES: readonly string[] = Object.keys(EMBEDDED);

/**
 * Opens a reward: one that ships inside by its name, an ImageReward file or folder, or the folder of a CLIP model.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openNamedReward(name: string, device: Device): Promise<ImageReward | ClipScore> {
  const path = EMBEDDED[name] ?? name;
  return (await isClipFolder(path)) ? openClipScore(path, device) : openImageReward(path, device);
}

async function isClipFolder(path: string): Promise<boolean> {
  const file = join(path, "config.json");
  const text = await readTextIfThere(file, { expected: "a model's configuration" });
  const json = text === undefined ? undefined : (parseJson(text, file) as { model_type?: unknown } | null);
  return json?.model_type === "clip";
}

/** The reward, as one with a gradient. @throws UsageError when it has no gradient */
export function expectDifferentiable(reward: Reward, where: string): DifferentiableReward {
  if ("network" in reward && "gradient" in reward) return reward as DifferentiableReward;
  throw new UsageError(
    `${where}: expected a differentiable reward, with a network that graphs can contain, got ${reward.name}; it may be held out`,
  );
}
