import { expect, test } from "vitest";
import type { RgbImage } from "#laurel/image/types";
import { isImageEmbedder } from "#laurel/rewards/image-embedder";
import { pictureDiversity, vendiScore } from "#laurel/training/finetune/diversity";
import { createBrightnessReward } from "../../backends/brightness-reward.js";

const vector = (...values: number[]): Float32Array => Float32Array.from(values);

/** An 8 x 8 picture, half of it of one grey and half of another. */
function picture(left: number, right: number): RgbImage {
  const data = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (Math.floor(i / 3) % 8 < 4 ? left : right));
  return { width: 8, height: 8, data };
}

test("the Vendi score is 1 for equal vectors, n for orthogonal ones, and the number of groups between", () => {
  expect(vendiScore([])).toBeNaN();
  expect(vendiScore([vector(1, 2)])).toBeCloseTo(1, 12);
  expect(vendiScore([vector(1, 2), vector(2, 4), vector(0.5, 1)])).toBeCloseTo(1, 10);
  expect(vendiScore([vector(1, 0, 0), vector(0, 3, 0), vector(0, 0, 2)])).toBeCloseTo(3, 12);
  expect(vendiScore([vector(1, 0), vector(2, 0), vector(0, 1), vector(0, 5)])).toBeCloseTo(2, 10);
  expect(vendiScore([vector(0, 0), vector(0, 0), vector(1, 0)])).toBeCloseTo(
    Math.exp(-(2 / 3) * Math.log(2 / 3) - (1 / 3) * Math.log(1 / 3)),
    10,
  );
  expect(vendiScore([vector(Number.NaN, 1), vector(1, 1)])).toBeNaN();
});

test("two vectors of cosine c have the eigenvalues (1 + c) / 2 and (1 - c) / 2", () => {
  for (const cosine of [0.1, 0.5, 0.9]) {
    const [high, low] = [(1 + cosine) / 2, (1 - cosine) / 2];
    const score = vendiScore([vector(1, 0), vector(cosine, Math.sqrt(1 - cosine ** 2))]);
    expect(score).toBeCloseTo(Math.exp(-high * Math.log(high) - low * Math.log(low)), 6);
  }
});

test("the diversity of pictures is 0 bits when they are alike and log2 of their number when they have nothing in common", async () => {
  const same = [picture(0, 255), picture(0, 255), picture(0, 255)];
  const opposite = [picture(255, 255), picture(0, 255)]; // as differences from medium grey: orthogonal
  const [none, one] = await pictureDiversity([same, opposite]);
  expect(none).toBeCloseTo(0, 10);
  expect(one).toBeCloseTo(1, 10);
});

test("where there is an embedder, its vectors count, prompt by prompt", async () => {
  const asked: number[] = [];
  const embedder = {
    embedImages: (images: readonly RgbImage[]) => {
      asked.push(images.length);
      return Promise.resolve(images.map(({ data }) => (data[0] === 0 ? vector(1, 0) : vector(0, 1))));
    },
  };
  const found = await pictureDiversity([[picture(0, 1), picture(9, 9)], [picture(9, 1), picture(9, 9)]], embedder); // prettier-ignore
  expect(asked).toEqual([4]);
  expect(found[0]).toBeCloseTo(1, 10);
  expect(found[1]).toBeCloseTo(0, 10);
  expect(isImageEmbedder(createBrightnessReward())).toBe(false);
});
