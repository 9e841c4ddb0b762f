/** @file ImageReward against its own modules: scores and ranks of image files, pixel gradients. */

import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ImageReward, openImageReward } from "#laurel/rewards/image-reward";
import { inferenceRank } from "#laurel/rewards/rank";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";
import { rewardConformance } from "./conformance.js";
import { errorOfSpread, fixturePath, floats, GOLDEN, goldenImages } from "./fixture.js";

const FOLDER = fixturePath("image-reward");
let device: Device;
let reward: ImageReward;
let scratch: string;

beforeAll(async () => {
  device = openDevice();
  reward = await openImageReward(FOLDER, device);
  scratch = await mkdtemp(join(tmpdir(), "laurel-reward-"));
});
afterAll(async () => {
  await device.close();
  await rm(scratch, { recursive: true });
});

describe("ImageReward", () => {
  test.each(GOLDEN.imageReward.results)("scores of image files for $prompt", async ({ prompt, scores, ranks }) => {
    const result = await reward.score(prompt, await goldenImages());
    expect(errorOfSpread(result.scores, scores)).toBeLessThanOrEqual(1e-3);
    expect(inferenceRank(result.scores)).toEqual(ranks);
    expect(result.warnings.length).toBe(prompt.length > 200 ? 1 : 0);
  });

  test("pixel gradients", async () => {
    const golden = GOLDEN.imageReward.gradient;
    const size = reward.imageSize;
    const shape = [golden.images.length, 3, size, size];
    const result = await reward.gradient(golden.prompt, float32(shape, floats(golden.pixels)));
    const expected = floats(golden.gradient);
    const plane = 3 * size * size;
    golden.images.forEach((_, i) => {
      const part = expected.subarray(i * plane, (i + 1) * plane);
      const scale = part.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = part.reduce(
        (most, value, j) => Math.max(most, Math.abs(value - result.gradient.data[i * plane + j]!)),
        0,
      );
      expect(error / scale).toBeLessThanOrEqual(1e-4);
      expect(result.scores[i]).toBeCloseTo(GOLDEN.imageReward.results[0]!.scores[i]!, 3);
    });
    expect(result.gradient.shape).toEqual(shape);
  });

  test("a gradient does not depend on its batch mates", async () => {
    const golden = GOLDEN.imageReward.gradient;
    const plane = 3 * reward.imageSize ** 2;
    const pixels = floats(golden.pixels);
    const shape = (n: number): number[] => [n, 3, reward.imageSize, reward.imageSize];
    const both = await reward.gradient(golden.prompt, float32(shape(2), pixels));
    const second = await reward.gradient(golden.prompt, float32(shape(1), pixels.slice(plane)));
    expect(Buffer.from(second.gradient.data.buffer).equals(Buffer.from(both.gradient.data.slice(plane).buffer))).toBe(
      true,
    );
    await expect(reward.gradient("a", float32([1, 3, 8, 8], new Float32Array(192)))).rejects.toThrow(
      `pixels: expected [N,3,32,32], got [1,3,8,8]`,
    );
  });
});

describe("opening ImageReward", () => {
  test("the weight file itself can be named, with the other parts elsewhere", async () => {
    const file = join(scratch, "mine.pt");
    await copyFile(join(FOLDER, "ImageReward.pt"), file);
    await expect(openImageReward(file, device)).rejects.toThrow(
      /med_config\.json: expected the text encoder's configuration/,
    );
    await copyFile(join(FOLDER, "med_config.json"), join(scratch, "med.json"));
    const opened = await openImageReward(file, device, {
      med: join(scratch, "med.json"),
      tokenizer: join(FOLDER, "vocab.txt"),
    });
    const { prompt, scores } = GOLDEN.imageReward.results[0]!;
    const images = await goldenImages();
    expect((await opened.score(prompt, images.slice(0, 1))).scores[0]).toBeCloseTo(scores[0]!, 3);
    await opened.dispose();
  });

  test("a missing vocabulary is said", async () => {
    await copyFile(join(FOLDER, "ImageReward.pt"), join(scratch, "ImageReward.pt"));
    await copyFile(join(FOLDER, "med_config.json"), join(scratch, "med_config.json"));
    await expect(openImageReward(scratch, device)).rejects.toThrow(/vocab\.txt/);
  });

  test("a vocabulary that is too large for the network is refused", async () => {
    const vocabulary = join(scratch, "vocab.txt");
    await writeFile(vocabulary, `${await readFile(join(FOLDER, "vocab.txt"), "utf8")}\nextra\nwords\nmore`);
    await expect(openImageReward(FOLDER, device, { tokenizer: vocabulary })).rejects.toThrow(
      /expected a vocabulary of \d+ tokens as in/,
    );
  });

  test.each([0, 1.5, Number.NaN])("batch %d is refused", async (batch) => {
    await expect(openImageReward(FOLDER, device, { batch })).rejects.toThrow(
      `batch: expected a whole number from 1, got ${batch}`,
    );
  });

  test("a path that is not there is refused", async () => {
    await expect(openImageReward(join(scratch, "none"), device)).rejects.toThrow(
      "none: expected an ImageReward file or folder, got no such file",
    );
  });
});

rewardConformance("ImageReward", {
  open: (batch) => openImageReward(FOLDER, device, { batch }),
  images: goldenImages,
  prompt: "a red circle above a blue square",
  longPrompt: { text: `${"a red circle above ".repeat(12)}zebra`, cut: "zebra" },
});
