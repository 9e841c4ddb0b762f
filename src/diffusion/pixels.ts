/** @file Between 8-bit RGB and what the autoencoder reads and gives, as diffusers' image processors do it (v0.38.0, image_processor.py). */

import { luminance } from "../image/convert.js";
import { resizeLanczos } from "../image/resize.js";
import type { RgbImage } from "../image/types.js";

/** 2 (byte / 255) - 1 in float32 steps. */
const NORMALISED = Float32Array.from({ length: 256 }, (_, byte) => 2 * Math.fround(byte / 255) - 1);

/** The picture at a size, float32 [3, height, width] in [-1, 1]. */
export function toEncoderInput(image: RgbImage, width: number, height: number): Float32Array {
  const { data } = resizeLanczos(image, width, height);
  const plane = width * height;
  const out = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    for (let i = 0; i < plane; i++) out[channel * plane + i] = NORMALISED[data[i * 3 + channel]!]!;
  }
  return out;
}

/** The mask at a size, [height, width]: 1 where it is to be repainted, from medium grey (128) on, else 0. */
export function toMask(image: RgbImage, width: number, height: number): Uint8Array {
  return luminance(resizeLanczos(image, width, height)).map((grey) => (grey >= 128 ? 1 : 0));
}

/**
 * Image `index` of a batch.
 * @param data float32 [N, 3, height, width], about [-1, 1]; outside is clamped
 */
export function toRgbImage(data: Float32Array, index: number, width: number, height: number): RgbImage {
  const plane = width * height;
  const start = index * 3 * plane;
  // (x / 2 + 0.5) * 255 in float32 steps; a clamped array rounds halves to even, as NumPy does
  const rgb = new Uint8ClampedArray(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const from = start + channel * plane;
    for (let i = 0; i < plane; i++) rgb[i * 3 + channel] = Math.fround(Math.fround(data[from + i]! / 2 + 0.5) * 255);
  }
  return { width, height, data: new Uint8Array(rgb.buffer) };
}
