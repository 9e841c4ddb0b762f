/** @file A picture in 64 bits that stay nearly the same when it is resized or compressed: what its coarsest waves are. */

import { countOnes } from "../util/near-hashes.js";
import { toRgb } from "./convert.js";
import type { RgbImage, SourceImage } from "./types.js";

/** The two halves of a hash. */
export type PerceptualHash = readonly [high: number, low: number];

/** Side of the grey picture that is transformed, and of the corner of its waves that is kept. */
const SIDE = 32;
const KEPT = 8;
/** Pictures whose grey varies less than this (of 255 levels, standard deviation) have no waves to tell them by. */
const FLAT = 1.5;

/** cos((2x + 1) u pi / 2 SIDE) for the waves that are kept. */
const COSINES = Float64Array.from({ length: KEPT * SIDE }, (_, i) => {
  return Math.cos(((2 * (i % SIDE) + 1) * Math.floor(i / SIDE) * Math.PI) / (2 * SIDE));
});

/**
 * The hash known as pHash: grey, averaged to 32 x 32, cosine transform, and of its 64 slowest waves (the mean left out) whether each is above their median.
 * @returns null for a picture of one colour, or nearly so: it resembles all others of its kind
 */
export function perceptualHash(image: RgbImage | SourceImage): PerceptualHash | null {
  const grey = averaged("mode" in image ? toRgb(image) : image);
  const mean = grey.reduce((sum, value) => sum + value, 0) / grey.length;
  const variance = grey.reduce((sum, value) => sum + (value - mean) ** 2, 0) / grey.length;
  if (variance < FLAT ** 2) return null;
  const waves = transformed(grey);
  const sorted = waves.slice(1).sort();
  const median = sorted[sorted.length >> 1]!;
  const halves: [number, number] = [0, 0];
  for (let i = 1; i < waves.length; i++) if (waves[i]! > median) halves[i >> 5]! |= 1 << (i & 31);
  return [halves[0]! >>> 0, halves[1]! >>> 0];
}

/** Bits in which two hashes differ, 0 to 63. */
export function hashDistance(a: PerceptualHash, b: PerceptualHash): number {
  return countOnes(a[0] ^ b[0]) + countOnes(a[1] ^ b[1]);
}

/** Mean brightness (ITU-R 601) of 32 x 32 boxes; boxes of small pictures overlap. */
function averaged({ width, height, data }: RgbImage): Float64Array {
  const out = new Float64Array(SIDE * SIDE);
  for (let row = 0; row < SIDE; row++) {
    const [top, bottom] = box(row, height);
    for (let column = 0; column < SIDE; column++) {
      const [left, right] = box(column, width);
      let sum = 0;
      for (let y = top; y < bottom; y++) {
        for (let at = 3 * (y * width + left); at < 3 * (y * width + right); at += 3)
          sum += 0.299 * data[at]! + 0.587 * data[at + 1]! + 0.114 * data[at + 2]!;
      }
      out[row * SIDE + column] = sum / ((bottom - top) * (right - left));
    }
  }
  return out;
}

function box(index: number, length: number): [number, number] {
  const start = Math.floor((index * length) / SIDE);
  return [start, Math.max(start + 1, Math.floor(((index + 1) * length) / SIDE))];
}

/** The waves of lowest frequency, row by row. */
function transformed(grey: Float64Array): Float64Array {
  const rows = new Float64Array(KEPT * SIDE);
  for (let u = 0; u < KEPT; u++)
    for (let y = 0; y < SIDE; y++) {
      let sum = 0;
      for (let x = 0; x < SIDE; x++) sum += grey[y * SIDE + x]! * COSINES[u * SIDE + x]!;
      rows[u * SIDE + y] = sum;
    }
  const waves = new Float64Array(KEPT * KEPT);
  for (let v = 0; v < KEPT; v++)
    for (let u = 0; u < KEPT; u++) {
      let sum = 0;
      for (let y = 0; y < SIDE; y++) sum += rows[u * SIDE + y]! * COSINES[v * SIDE + y]!;
      waves[v * KEPT + u] = sum;
    }
  return waves;
}
