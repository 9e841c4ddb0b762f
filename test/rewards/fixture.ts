/** @file The golden scores of test/reference/rewards.py and the image files they are of. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { decodeImage } from "#laurel/image/decode";
import type { SourceImage } from "#laurel/image/types";

interface Scores {
  images: string[];
  imageReward: {
    results: { prompt: string; ranks: number[]; scores: number[] }[];
    gradient: { prompt: string; images: string[]; pixels: string; gradient: string };
  };
  clip: { results: { prompt: string; scores: number[] }[] };
}

const FOLDER = new URL("../fixtures/rewards/", import.meta.url);

/** Path of a fixture of this folder. */
export const fixturePath = (name: string): string => fileURLToPath(new URL(name, FOLDER));

/** The golden values. */
export const GOLDEN = JSON.parse(await readFile(new URL("scores.json", FOLDER), "utf8")) as Scores;

/** The scored image files, decoded. */
export async function goldenImages(): Promise<SourceImage[]> {
  return Promise.all(
    GOLDEN.images.map(async (name) => decodeImage(await readFile(new URL(`../image/${name}`, FOLDER)), name)),
  );
}

/** base64 of float32. */
export function floats(text: string): Float32Array {
  return new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
}

/** max |a - b| / (standard deviation of b) */
export function errorOfSpread(actual: readonly number[], expected: readonly number[]): number {
  const mean = expected.reduce((sum, value) => sum + value, 0) / expected.length;
  const spread = Math.sqrt(expected.reduce((sum, value) => sum + (value - mean) ** 2, 0) / expected.length);
  return Math.max(...actual.map((value, i) => Math.abs(value - expected[i]!))) / spread;
}
