/** @file From latents to pictures. */

import type { RgbImage } from "../image/types.js";
import type { Program } from "../runtime/program.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import { toRgbImage } from "./pixels.js";
import type { Trajectory } from "./trajectory.js";

/** Images are decoded together up to this many pixels: the decoder's inner tensors are many times larger. */
const DECODED_PIXELS = 1 << 18;

/**
 * The pictures of several latents.
 * @param decoder the program for the trajectory's size
 * @param scalingFactor of the autoencoder: latents are divided by it
 * @throws CancelledError when the signal aborts
 */
export async function decodeLatents(
  decoder: Program,
  { latentShape, request: { width, height } }: Trajectory,
  latents: readonly Float32Array[],
  scalingFactor: number,
  signal: AbortSignal | undefined,
): Promise<RgbImage[]> {
  const size = elementCount(latentShape);
  const group = Math.max(1, Math.floor(DECODED_PIXELS / (width * height)));
  const images: RgbImage[] = [];
  for (let start = 0; start < latents.length; start += group) {
    throwIfAborted(signal);
    const part = latents.slice(start, start + group);
    const scaled = new Float32Array(part.length * size);
    part.forEach((one, i) => {
      for (let j = 0; j < size; j++) scaled[i * size + j] = one[j]! / scalingFactor;
    });
    const outputs = await decoder.run({ latents: float32([part.length, ...latentShape], scaled) }, { signal });
    const decoded = outputs["image"]!.data as Float32Array;
    part.forEach((_, i) => images.push(toRgbImage(decoded, i, width, height)));
  }
  return images;
}
