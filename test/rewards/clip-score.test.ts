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

  test("an image's embedding does not depend on its batch, and an image is most like itself", async () => {
    const images = await goldenImages();
    const embeddings = await reward.embedImages(images);
    expect(embeddings).toHaveLength(images.length);
    expect(await reward.embedImages(images.slice(-1))).toEqual(embeddings.slice(-1));
    const cosine = (a: Float32Array, b: Float32Array): number =>
      a.reduce((sum, value, i) => sum + value * b[i]!, 0) / (Math.hypot(...a) * Math.hypot(...b));
    expect(cosine(embeddings[0]!, embeddings[0]!)).toBeCloseTo(1, 12);
    expect(Math.max(...embeddings.slice(1).map((one) => cosine(embeddings[0]!, one)))).toBeLessThan(0.9999);
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
