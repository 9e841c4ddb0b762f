/**
 * @file From an image to the pixels that a reward's network reads, in its reference's order of resizing, cutting or filling, converting to RGB,
 * and normalising.
 */

import { toRgb } from "./convert.js";
import { bicubicWeights, resizeBicubic, type Window } from "./resize.js";
import type { RgbImage, SourceImage } from "./types.js";

/** CLIP's channel means, of RGB in [0, 1]. */
export const CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073] as const;
/** CLIP's channel standard deviations. */
export const CLIP_STD = [0.26862954, 0.26130258, 0.27577711] as const;

/** How an image of any shape becomes the normalised square that a network reads. */
export interface Preprocessing {
  /**
   * `crop`: the short side becomes the square's and the middle is kept, in Pillow's 8-bit antialiased bicubic. `pad`: the long side becomes the
   * square's and the rest is black, in torch's antialiased bicubic on floats, which overshoots.
   */
  readonly fit: "crop" | "pad";
  /** Whether colours become RGB before the resize or after it; they differ for palettes, alpha, CMYK and 1-bit images. */
  readonly rgb: "first" | "last";
  /** Which of two middles is kept where an odd number of pixels is cut: the one whose offset is even, or the first. Unused for `pad`. */
  readonly middle: "even" | "first";
  /** Mean of each channel, red first, of colours in [0, 1]. */
  readonly mean: readonly [number, number, number];
  /** Standard deviation of each channel. */
  readonly std: readonly [number, number, number];
}

/** CLIP's own and ImageReward's: OpenAI's `clip.load`, ImageReward/utils.py `_transform`; torchvision 0.28 on PIL images. */
export const CLIP_PREPROCESSING: Preprocessing = {
  fit: "crop",
  rgb: "last",
  middle: "even",
  mean: CLIP_MEAN,
  std: CLIP_STD,
};
/** transformers' `CLIPImageProcessor`, v4.57.1. */
export const TRANSFORMERS_PREPROCESSING: Preprocessing = { ...CLIP_PREPROCESSING, rgb: "first", middle: "first" };
/** HPSv2's `image_transform(resize_longest_max=True)` with torchvision from 0.17 on, where tensors are resized with antialiasing. */
export const HPS_PREPROCESSING: Preprocessing = { ...CLIP_PREPROCESSING, fit: "pad", rgb: "first", middle: "first" };

/** Python's `int(round(x))` of x = numerator / denominator given as a number: halves go to the even number. */
function halfToEven(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** torchvision's `Resize(size)` rule: the short side becomes `size`, the long side is cut to a whole number. */
export function shortSideTo(size: number, width: number, height: number): { width: number; height: number } {
  return width <= height
    ? { width: size, height: Math.trunc((size * height) / width) }
    : { width: Math.trunc((size * width) / height), height: size };
}

/** What an image becomes, and where the square lies in it: inside for `crop`; for `pad` it reaches beyond. */
export interface Fitted {
  readonly width: number;
  readonly height: number;
  readonly window: Window;
}

/** Where the square of `size` pixels a side comes from in an image resized for it. */
export function fitSquare(
  { fit, middle }: Pick<Preprocessing, "fit" | "middle">,
  size: number,
  from: { width: number; height: number },
): Fitted {
  if (fit === "pad") {
    const scale = size / Math.max(from.width, from.height);
    const side = (length: number): number => Math.max(1, halfToEven(length * scale));
    const [width, height] = [side(from.width), side(from.height)];
    const before = (length: number): number => -Math.floor((size - length) / 2);
    return { width, height, window: { left: before(width), top: before(height), width: size, height: size } };
  }
  const { width, height } = shortSideTo(size, from.width, from.height);
  const before = (length: number): number =>
    middle === "even" ? halfToEven((length - size) / 2) : Math.floor((length - size) / 2);
  return { width, height, window: { left: before(width), top: before(height), width: size, height: size } };
}

/** The 8-bit square that CLIP and ImageReward look at: `Resize(size, BICUBIC)`, `CenterCrop(size)`, `convert("RGB")`. */
export function cropForClip(image: SourceImage | RgbImage, size: number): RgbImage {
  return cropped(image, size, CLIP_PREPROCESSING);
}

function cropped(image: SourceImage | RgbImage, size: number, how: Preprocessing): RgbImage {
  const { width, height, window } = fitSquare(how, size, image);
  return toRgb(resizeBicubic(how.rgb === "first" ? toRgb(image) : image, width, height, window));
}

/** A channel's value in torch's float32 steps: (colour - mean) / std, the colour in [0, 1]. */
function normalised(colour: number, mean: number, std: number): number {
  const { fround } = Math;
  return fround(fround(colour) - fround(mean)) / fround(std);
}

/** All 256 normalised values of a channel. */
function normalisedBytes(mean: number, std: number): Float32Array {
  return Float32Array.from({ length: 256 }, (_, byte) => normalised(Math.fround(byte / 255), mean, std));
}

const CLIP_TABLES = tablesOf(CLIP_PREPROCESSING);

function tablesOf({ mean, std }: Pick<Preprocessing, "mean" | "std">): Float32Array[] {
  return mean.map((value, channel) => normalisedBytes(value, std[channel]!));
}

/**
 * Preprocesses one image as CLIP and ImageReward do.
 *
 * @param size The network's image size in pixels, for example 224.
 * @returns float32 [3, size, size], normalised.
 * @throws UsageError when the image is so narrow that its long side would exceed 100 million pixels.
 */
export function preprocessClip(image: SourceImage | RgbImage, size: number): Float32Array {
  return preprocess(image, size, CLIP_PREPROCESSING);
}

/** Preprocesses one image for a network of `size` pixels a side; result and errors as {@link preprocessClip}. */
export function preprocess(image: SourceImage | RgbImage, size: number, how: Preprocessing): Float32Array {
  if (how.fit === "pad") return padded(toRgb(image), size, how);
  const { data } = cropped(image, size, how);
  const tables = how.mean === CLIP_MEAN && how.std === CLIP_STD ? CLIP_TABLES : tablesOf(how);
  const pixels = size * size;
  const out = new Float32Array(3 * pixels);
  for (const [channel, table] of tables.entries()) {
    for (let i = 0; i < pixels; i++) out[channel * pixels + i] = table[data[i * 3 + channel] as number] as number;
  }
  return out;
}

/** Resized in floats, in the middle of a black square. */
function padded(image: RgbImage, size: number, how: Preprocessing): Float32Array {
  const { width, height, window } = fitSquare(how, size, image);
  const [left, top] = [-window.left, -window.top];
  const across = resizedLines(image.data, image.height, image.width, 3, width);
  // down the columns a neighbour is a whole row away
  const resized = resizedLines(across, 1, image.height, width * 3, height);
  const out = new Float32Array(3 * size * size);
  for (let channel = 0; channel < 3; channel++) {
    const [mean, std] = [how.mean[channel]!, how.std[channel]!];
    const plane = out.subarray(channel * size * size, (channel + 1) * size * size).fill(normalised(0, mean, std));
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        plane[(top + y) * size + left + x] = normalised(resized[(y * width + x) * 3 + channel]! / 255, mean, std);
      }
    }
  }
  return out;
}

/** The middle axis of [lines, size, channels] resampled to `outSize`, unrounded. */
function resizedLines(
  data: Uint8Array | Float32Array,
  lines: number,
  size: number,
  channels: number,
  outSize: number,
): Uint8Array | Float32Array {
  if (size === outSize) return data;
  const { taps, starts, counts, weights } = bicubicWeights(size, outSize, 0, outSize);
  const out = new Float32Array(lines * outSize * channels);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < outSize; i++) {
      const to = (line * outSize + i) * channels;
      for (let t = 0; t < counts[i]!; t++) {
        const weight = weights[i * taps + t]!;
        const from = (line * size + starts[i]! + t) * channels;
        for (let c = 0; c < channels; c++) out[to + c]! += data[from + c]! * weight;
      }
    }
  }
  return out;
}
