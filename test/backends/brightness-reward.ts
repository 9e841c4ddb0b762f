/** @file A small real reward for tests: the brighter the picture, the better. */

import { CancelledError } from "#laurel/errors";
import { toRgb } from "#laurel/image/convert";
import type { RgbImage, SourceImage } from "#laurel/image/types";
import type { Reward } from "#laurel/rewards/contract";

/** Scores in [-2, 2]; `transform` changes the score of the i-th image of a call. */
export function createBrightnessReward(
  transform: (score: number, image: RgbImage) => number = (score) => score,
  warnings: string[] = [],
): Reward & { readonly calls: number[] } {
  const calls: number[] = [];
  return {
    name: "brightness",
    model: { name: "brightness", path: undefined },
    range: [-2, 2],
    calls,
    async score(_prompt: string, images: readonly (RgbImage | SourceImage)[], { signal } = {}) {
      if (signal?.aborted === true) throw new CancelledError("scoring was cancelled");
      calls.push(images.length);
      const scores = images.map((image) => {
        const { data, width, height } = toRgb(image);
        const mean = data.reduce((sum, value) => sum + value, 0) / data.length / 255;
        return transform((mean - 0.5) * 4, { data, width, height });
      });
      return { scores, warnings };
    },
    dispose: async () => undefined,
  };
}
