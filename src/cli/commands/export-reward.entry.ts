/** @file What `laurel export reward` takes. */

import type { PictureKind } from "../../export/reward/graphs.js";
import { choice, declare, type FlagsOf, folder, otherwise, several, textual, toggle, whole } from "../declare.js";
import { DEVICE_OPTION, OUTPUT_OPTIONS } from "../options.js";

const KINDS: readonly PictureKind[] = ["pixels", "image", "latents"];

export const EXPORT_REWARD = declare({
  summary: "write a differentiable reward as plain ONNX for other programs",
  arguments: [],
  options: {
    out: folder("folder to write"),
    reward: several(
      textual(
        "image-reward or clip-score for the demo model, aesthetic, blip-score, pickscore, hps, a file or folder; several are summed by their weights (default: image-reward)",
        "name|path[=weight]",
        "a reward",
        "file",
      ),
    ),
    from: otherwise(
      "image",
      choice(
        "pixels (normalised, the reward's size), image (RGB in [0, 1]) or latents (decoded inside)",
        "kind",
        KINDS,
      ),
    ),
    size: textual("of the picture, such as 512x512 (default: the reward's, for latents the model's)", "WxH", "a size"),
    batch: whole("rows of every run (default: each run chooses)", 1, 1024),
    model: folder("Stable Diffusion in diffusers layout, for latents (default: the demo model)"),
    singleFile: toggle("weights inside of each model instead of once beside both"),
    force: toggle("replace an earlier export"),
    ...DEVICE_OPTION,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel export reward --out reward",
    "laurel export reward --out reward --reward ~/models/ImageReward.pt --from image --size 512x512",
    "laurel export reward --out reward --reward ~/models/ImageReward.pt --reward ~/models/clip=4 --from latents --model ~/models/stable-diffusion-v1-5",
  ],
  notes:
    "The folder holds models for score and gradient, weights, tokenizers, and consumers for Python and TypeScript: docs/differentiable-reward.md.",
});

/** Options of `laurel export reward`. */
export type ExportRewardFlags = FlagsOf<typeof EXPORT_REWARD.options>;
