/** @file What `laurel verify image-reward` takes. */

import { declare, file, type FlagsOf, folder, otherwise } from "../declare.js";
import { OUTPUT_OPTIONS, SESSION_OPTIONS } from "../options.js";

export const VERIFY_IMAGE_REWARD = declare({
  summary: "check that ImageReward v1.0 gives the scores that were published",
  arguments: [],
  options: {
    rewardModel: file("the published weights (default: image-reward-v1.0 from the cache)", "path", "a file or folder"),
    images: otherwise("ImageReward/assets/images", folder("folder of the four published pictures, 1.webp to 4.webp")),
    ...SESSION_OPTIONS,
    ...OUTPUT_OPTIONS,
  },
  examples: [
    "laurel verify image-reward",
    "laurel verify image-reward --reward-model ~/.cache/ImageReward/ImageReward.pt --images ~/ImageReward/assets/images --json",
  ],
  notes: `The pictures come from the repository: git clone --depth 1 https://github.com/zai-org/ImageReward
Exit code 5 when weights or pictures are missing, 6 when a score is off by more than 0.001.`,
});

/** Options of `laurel verify image-reward`. */
export type VerifyImageRewardFlags = FlagsOf<typeof VERIFY_IMAGE_REWARD.options>;
