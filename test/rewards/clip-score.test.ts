/** @file CLIP score against transformers' CLIPModel. */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ClipScore, openClipScore } from "#laurel/rewards/clip-score";
import { type Device, openDevice } from "#laurel/runtime/device";
import { rewardConformance } from "./conformance.js";
import { errorOfSpread, fixturePath, GOLDEN, goldenImages } from "./fixture.js";

const FOLDER = fixturePath("clip");
let device: Device;
let reward: ClipScore;

beforeAll(async () => {
  device = openDevice();
  reward = await openClipScore(FOLDER, device);
});
afterAll(() => device.close());

describe("CLIP score", () => {
  test.each(GOLDEN.clip.results)("cosines of image files for $prompt", async ({ prompt, scores }) => {
    const result = await reward.score(prompt, await goldenImages());
    expect(errorOfSpread(result.scores, scores)).toBeLessThanOrEqual(1e-3);
  });

  test("a folder that is none is refused", async () => {
    await expect(openClipScore(fixturePath("image-reward"), device)).rejects.toThrow(
      /config\.json: expected a CLIP model's configuration/,
    );
  });
});

rewardConformance("CLIP score", {
  open: (batch) => openClipScore(FOLDER, device, { batch }),
  images: goldenImages,
  prompt: "a red circle",
  longPrompt: { text: `${"a red circle above ".repeat(12)}zebra`, cut: "zebra" },
});
