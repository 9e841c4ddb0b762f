import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { toRgb } from "#laurel/image/convert";
import { decodeImage } from "#laurel/image/decode";
import { CLIP_STD, cropForClip, preprocessClip, shortSideTo } from "#laurel/image/preprocess";
import { resizeBicubic } from "#laurel/image/resize";
import type { SourceImage } from "#laurel/image/types";

interface Golden {
  file: string;
  mode: SourceImage["mode"];
  width: number;
  height: number;
  pixels: string;
  rgb?: string;
  resized?: { width: number; height: number; pixels: string }[];
  preprocessed?: { size: number; pixels: string };
}

const folder = new URL("../fixtures/image/", import.meta.url);
const { images } = JSON.parse(readFileSync(new URL("pixels.json", folder), "utf8")) as { images: Golden[] };

function unpack(packed: string): Uint8Array {
  return Uint8Array.from(inflateSync(Buffer.from(packed, "base64")));
}

function worst(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let largest = 0;
  for (let i = 0; i < actual.length; i++)
    largest = Math.max(largest, Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)));
  return largest;
}

async function open(file: string): Promise<SourceImage> {
  return decodeImage(readFileSync(new URL(file, folder)), file);
}

describe("images as Pillow and torchvision see them", () => {
  for (const golden of images) {
    const { file, resized = [], preprocessed } = golden;
    it(`opens ${file} in mode ${golden.mode} with Pillow's pixels`, async () => {
      const image = await open(file);
      expect([image.width, image.height]).toEqual([golden.width, golden.height]);
      expect(image.mode).toBe(golden.mode);
      const { buffer, byteOffset, byteLength } = image.data;
      expect(worst(new Uint8Array(buffer, byteOffset, byteLength), unpack(golden.pixels))).toBe(0);
      if (golden.rgb !== undefined) expect(worst(toRgb(image).data, unpack(golden.rgb))).toBe(0);
    });

    for (const { width, height, pixels } of resized) {
      it(`resizes ${file} to ${width} x ${height} to the same bytes`, async () => {
        const image = resizeBicubic(await open(file), width, height);
        expect([image.mode, image.width, image.height]).toEqual([golden.mode, width, height]);
        expect(worst(image.data, unpack(pixels))).toBe(0);
      });
    }

    if (preprocessed !== undefined) {
      it(`preprocesses ${file} at ${preprocessed.size} to the reference's numbers`, async () => {
        const bytes = unpack(preprocessed.pixels);
        const actual = preprocessClip(await open(file), preprocessed.size);
        // One step of an 8-bit pixel is 1 / 255 / std, about 0.015: this leaves no pixel off by one.
        expect(worst(actual, new Float32Array(bytes.buffer))).toBeLessThanOrEqual(1e-6 / CLIP_STD[1]);
      });
    }
  }

  it("keeps a 16-bit grey picture where Pillow clips it to white, and says so", async () => {
    const image = await open("grey-16bit.png");
    expect(image.warnings).toEqual([
      "grey-16bit.png: 16-bit grey is reduced to 8 bits; the reference would clip it to white",
    ]);
    const { data } = cropForClip(image, 20);
    expect(Math.min(...data)).toBeLessThan(30);
    expect(Math.max(...data)).toBeGreaterThan(200);
  });

  it("takes a plain RGB image and the same image in a file for one", async () => {
    const image = await open("rgb.png");
    const { width, height, data } = toRgb(image);
    expect(preprocessClip({ width, height, data }, 28)).toEqual(preprocessClip(image, 28));
  });

  it("rounds the long side down and refuses what would grow out of hand", () => {
    expect(shortSideTo(224, 300, 401)).toEqual({ width: 224, height: 299 });
    expect(shortSideTo(224, 401, 300)).toEqual({ width: 299, height: 224 });
    const line = { width: 1_000_000, height: 1, data: new Uint8Array(3_000_000) };
    expect(() => preprocessClip(line, 224)).toThrow("resize: expected 1 to 100 million pixels, got 224000000 x 1");
    const short = { width: 100_000, height: 1, data: new Uint8Array(300_000).fill(9) };
    expect(cropForClip(short, 224)).toEqual({ width: 224, height: 224, data: new Uint8Array(224 * 224 * 3).fill(9) });
  });
});
