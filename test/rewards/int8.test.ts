/** @file ImageReward in int8: how its scores agree with float32, what they do not depend on, and what is refused. */

import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRandom } from "#laurel/demo/random";
import { renderScene } from "#laurel/demo/render";
import { sampleScene } from "#laurel/demo/scene";
import { agreementOf, describeAgreement } from "#laurel/library/int8-agreement";
import { openNamedReward } from "#laurel/library/named-rewards";
import { INT8_SUFFIXES, roundWeight } from "#laurel/nn/int8-product";
import { EMBEDDED_MODELS } from "#laurel/pipeline/package-info";
import { type ImageReward, openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32 } from "#laurel/tensor/tensor";

const PROMPT = "a red circle above a blue square";
const before = process.env["XDG_CACHE_HOME"];
let device: Device;
let cache: string;
let rounded: ImageReward;

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), "laurel-int8-"));
  process.env["XDG_CACHE_HOME"] = cache;
  device = openDevice();
  rounded = await openImageReward(EMBEDDED_MODELS.reward, device, { dtype: "int8" });
});
afterAll(async () => {
  await device.close();
  if (before === undefined) delete process.env["XDG_CACHE_HOME"];
  else process.env["XDG_CACHE_HOME"] = before;
  await rm(cache, { recursive: true });
});

function pictures(count: number) {
  const random = createRandom(61);
  return Array.from({ length: count }, () => renderScene(sampleScene(random), random));
}

describe("a rounded weight", () => {
  test("has a unit for each output channel, and its values lie by input", () => {
    const { values, scale } = roundWeight(Float32Array.of(1.27, -0.63, 0, 0, 5, 254), 3);
    expect([...scale]).toEqual([0.01, 1, 2].map((unit) => expect.closeTo(unit, 6) as number));
    // inputs are rows: the first of each channel, then the second; 5 / 2 is rounded up
    expect([...values]).toEqual([127, 0, 3, -63, 0, 127]);
  });
});

describe("ImageReward in int8", () => {
  test("orders pictures as float32 does", async () => {
    const images = pictures(64);
    const exact = await openImageReward(EMBEDDED_MODELS.reward, device);
    const { scores } = await exact.score(PROMPT, images);
    const { scores: own } = await rounded.score(PROMPT, images);
    const { tau, largestDifference, spread } = agreementOf(scores.map((score, i) => [score, own[i]!] as const));
    expect(tau).toBeGreaterThanOrEqual(0.97);
    // rounding to 8 bits shows in every score, and stays a small part of what tells pictures apart
    expect(largestDifference).toBeGreaterThan(1e-4);
    expect(largestDifference / spread).toBeLessThan(0.05);
  });

  test("a score does not depend on the images beside it", async () => {
    const images = pictures(5);
    const { scores } = await rounded.score(PROMPT, images);
    for (const [i, image] of images.entries())
      expect((await rounded.score(PROMPT, [image])).scores).toEqual([scores[i]]);
  });

  test("leaves the head as it is, and keeps the rounded weights for the next time", async () => {
    const { parameters } = rounded.graph("inference");
    const names = [...parameters.keys()].filter((name) => name.endsWith(INT8_SUFFIXES.values));
    expect(names).toContain("blip.visual_encoder.blocks.0.attn.qkv.weight.int8");
    expect(names.every((name) => name.startsWith("blip."))).toBe(true);
    await openImageReward(EMBEDDED_MODELS.reward, device, { dtype: "int8" });
    expect(await readdir(join(cache, "laurel", "int8"))).toHaveLength(1);
  });

  test("has no gradient and no network for graphs", async () => {
    const pixels = float32([1, 3, rounded.imageSize, rounded.imageSize], new Float32Array(3 * rounded.imageSize ** 2));
    const refusal = "image-reward: expected dtype float32 for gradients and graphs, got int8, which only scores";
    await expect(rounded.gradient(PROMPT, pixels)).rejects.toThrow(refusal);
    expect(() => rounded.network).toThrow(refusal);
    expect(() => rounded.graph("training")).toThrow(refusal);
  });

  test("refuses a batch, in which scores would depend on each other, and other rewards", async () => {
    const open = openImageReward(EMBEDDED_MODELS.reward, device, { dtype: "int8", batch: 2 });
    await expect(open).rejects.toThrow(
      "batch: expected 1 in int8, where a score would depend on the images beside it, got 2",
    );
    await expect(openNamedReward("clip-score", device, { dtype: "int8" })).rejects.toThrow(
      "dtype int8: expected an ImageReward, got clip-score, which has only float32",
    );
  });
});

describe("the agreement", () => {
  test("is told in words, with a warning where the order changes", () => {
    const swapped = agreementOf([[1, 1.5], [2, 1.25], [4, 4]]); // prettier-ignore
    expect(swapped).toEqual({
      images: 3,
      tau: expect.closeTo(1 / 3, 12) as number,
      largestDifference: 0.75,
      spread: 3,
    });
    const { line, warning } = describeAgreement(swapped);
    expect(line).toBe(
      "int8 beside float32 on 3 of these images: Kendall tau 0.333, largest difference 0.7500 of a spread of 3.0000",
    );
    expect(warning).toContain(
      "int8 orders these images differently than float32 (Kendall tau 0.333, expected at least 0.98)",
    );
    expect(describeAgreement(agreementOf([[1, 1.1], [2, 2.1]])).warning).toBeUndefined(); // prettier-ignore
  });

  test("has no tau where there is no order", () => {
    expect(agreementOf([[1, 2]]).tau).toBeNull();
    expect(describeAgreement(agreementOf([])).line).toContain("on 0 of these images: largest difference 0.0000");
    // a tie on one side counts half, as tau-b has it
    expect(agreementOf([[1, 1], [1, 2], [3, 3]]).tau).toBeCloseTo(2 / Math.sqrt(6), 12); // prettier-ignore
  });
});
