/** @file From the decoder's output to 8-bit RGB, as diffusers' image processor does it. */

import type { RgbImage } from "../image/types.js";

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
