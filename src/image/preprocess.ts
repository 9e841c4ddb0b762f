/**
 * @file From an image to the pixels that CLIP and ImageReward read, in the reference's order: resize in the file's own mode,
 * centre crop, convert to RGB, scale, normalise (ImageReward/utils.py `_transform`, torchvision 0.28 on PIL images).
 */

import { toRgb } from "./convert.js";
import { resizeBicubic, type Window } from "./resize.js";
import type { RgbImage, SourceImage } from "./types.js";

/** CLIP's channel means, of RGB in [0, 1]. */
export const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
/** CLIP's channel standard deviations. */
export const CLIP_STD = [0.26862954, 0.26130258, 0.27577711] as const;

/** Python's `int(round(x / 2))`: halves go to the even number. */
function halfToEven(value: number): number {
  const floor = Math.floor(value / 2);
  return value % 2 === 0 || floor % 2 === 0 ? floor : floor + 1;
}

/** torchvision's `Resize(size)` rule: the short side becomes `size`, the long side is cut to a whole number. */
export function shortSideTo(size: number, width: number, height: number): { width: number; height: number } {
  return width <= height
    ? { width: size, height: Math.trunc((size * height) / width) }
    : { width: Math.trunc((size * width) / height), height: size };
}

/** `Resize(size)` and `CenterCrop(size)`: what an image becomes, and the part of it that is kept. */
export function centreSquare(size: number, from: { width: number; height: number }): Resized {
  const { width, height } = shortSideTo(size, from.width, from.height);
  return {
    width,
    height,
    window: { left: halfToEven(width - size), top: halfToEven(height - size), width: size, height: size },
  };
}

interface Resized {
  readonly width: number;
  readonly height: number;
  readonly window: Window;
}

/** `Resize(size, BICUBIC)`, `CenterCrop(size)`, `convert("RGB")`: the 8-bit square a reward looks at. */
export function cropForClip(image: SourceImage | RgbImage, size: number): RgbImage {
  const { width, height, window } = centreSquare(size, image);
  return toRgb(resizeBicubic(image, width, height, window));
}

/** All 256 normalised values of a channel, in torch's float32 steps: (byte / 255 - mean) / std. */
function normalisedValues(mean: number, std: number): Float32Array {
  const { fround } = Math;
  return Float32Array.from({ length: 256 }, (_, byte) => fround(fround(byte / 255) - fround(mean)) / fround(std));
}

const TABLES = CLIP_MEAN.map((mean, channel) => normalisedValues(mean, CLIP_STD[channel as 0 | 1 | 2]));

/**
 * Preprocesses one image as the reference does.
 *
 * @param size The network's image size in pixels, for example 224.
 * @returns float32 [3, size, size], normalised.
 * @throws UsageError when the image is so narrow that its long side would exceed 100 million pixels.
 */
export function preprocessClip(image: SourceImage | RgbImage, size: number): Float32Array {
  const { data } = cropForClip(image, size);
  const pixels = size * size;
  const out = new Float32Array(3 * pixels);
  for (const [channel, table] of TABLES.entries()) {
    for (let i = 0; i < pixels; i++) out[channel * pixels + i] = table[data[i * 3 + channel] as number] as number;
  }
  return out;
}
