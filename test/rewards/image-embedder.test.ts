/** @file Which reward embeds pictures, and what stands for one where none does. */

import { expect, test } from "vitest";
import type { RgbImage } from "#laurel/image/types";
import type { Reward } from "#laurel/rewards/contract";
import { Ensemble } from "#laurel/rewards/ensemble";
import { WatchedReward } from "#laurel/rewards/held-out";
import { cosine, embedderOf, embedPictures, type ImageEmbedder } from "#laurel/rewards/image-embedder";
import { createBrightnessReward } from "../backends/brightness-reward.js";

const picture = (value: number): RgbImage => ({ width: 16, height: 16, data: new Uint8Array(768).fill(value) });

function embedder(name: string): Reward & ImageEmbedder {
  const { score, dispose } = createBrightnessReward();
  const model = { name, path: undefined };
  const embedImages: ImageEmbedder["embedImages"] = (images) =>
    Promise.resolve(images.map(() => Float32Array.of(1, 2)));
  return { name, model, range: [-2, 2], score, dispose, embedImages };
}

const reference = { mean: 0, std: 1, source: "a test" };
const member = (reward: Reward) => ({ name: reward.name, reward, weight: 1, reference });

test("the reward itself comes first, then its members, then what watches it", () => {
  const [clip, pick] = [embedder("clip"), embedder("pick")];
  const plain = createBrightnessReward();
  expect(embedderOf(plain)).toBeUndefined();
  expect(embedderOf(clip)).toBe(clip);
  expect(embedderOf(new Ensemble([member(plain), member(clip)]))).toBe(clip);
  expect(embedderOf(new WatchedReward(plain, [pick]))).toBe(pick);
  expect(embedderOf(new WatchedReward(clip, [pick]))).toBe(clip);
  expect(embedderOf(new WatchedReward(new Ensemble([member(plain), member(pick)]), [clip]))).toBe(pick);
});

test("without an embedding, light and dark pictures point away from each other, and grey nowhere", async () => {
  expect(await embedPictures([picture(0)], embedder("clip"))).toEqual([Float32Array.of(1, 2)]);
  const [black, dim, white] = await embedPictures([picture(0), picture(30), picture(255)]);
  expect(black).toHaveLength(8 * 8 * 3);
  expect(cosine(black!, white!)).toBeCloseTo(-1, 6);
  expect(cosine(black!, dim!)).toBeCloseTo(1, 6);
  const nothing = new Float32Array(192);
  expect(cosine(nothing, nothing)).toBe(1);
  expect(cosine(nothing, white!)).toBe(0);
});
