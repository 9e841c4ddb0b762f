/** @file From latents to pictures. */

import type { RgbImage } from "../image/types.js";
import type { AutoencoderConfig } from "../models/autoencoder-kl.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import { type LatentScale, toAutoencoderLatents } from "./latent-scale.js";
import { toRgbImage } from "./pixels.js";
import type { Runnable } from "./runnable.js";
import { cutTile, TileBlend, type TilePlan } from "./tiles.js";
import { latentSize, type Trajectory } from "./trajectory.js";

/** Images are decoded together up to this many pixels: the decoder's inner tensors are many times larger. */
const DECODED_PIXELS = 1 << 18;

/**
 * The pictures of several latents.
 * @param decoder the program for the trajectory's size
 * @param scale of the autoencoder's latents
 * @throws CancelledError when the signal aborts
 */
export async function decodeLatents(
  decoder: Runnable,
  { latentShape, request: { width, height } }: Trajectory,
  latents: readonly Float32Array[],
  scale: LatentScale,
  signal: AbortSignal | undefined,
): Promise<RgbImage[]> {
  const size = elementCount(latentShape);
  const group = Math.max(1, Math.floor(DECODED_PIXELS / (width * height)));
  const images: RgbImage[] = [];
  for (let start = 0; start < latents.length; start += group) {
    throwIfAborted(signal);
    const part = latents.slice(start, start + group);
    const scaled = new Float32Array(part.length * size);
    part.forEach((one, i) => scaled.set(toAutoencoderLatents(one, scale), i * size));
    const outputs = await decoder.run({ latents: float32([part.length, ...latentShape], scaled) }, { signal });
    const decoded = outputs["image"]!.data as Float32Array;
    part.forEach((_, i) => images.push(toRgbImage(decoded, i, width, height)));
  }
  return images;
}

/** What tells how to decode in tiles. */
interface TiledDecoding {
  readonly autoencoder: AutoencoderConfig;
  /** Pixels per latent cell. */
  readonly factor: number;
  readonly tiles: TilePlan;
  readonly signal: AbortSignal | undefined;
}

/**
 * The same, tile by tile. GroupNorm sees the statistics of a tile instead of the picture's, which shifts colours a little: an approximation.
 * @param decoder the program for a tile's size
 * @throws CancelledError when the signal aborts
 */
export async function decodeInTiles(
  decoder: Runnable,
  trajectory: Trajectory,
  latents: readonly Float32Array[],
  { autoencoder, factor, tiles, signal }: TiledDecoding,
): Promise<RgbImage[]> {
  const size = latentSize(trajectory);
  const shape = [1, trajectory.latentShape[0], tiles.size.height, tiles.size.width];
  const images: RgbImage[] = [];
  for (const one of latents) {
    const whole = toAutoencoderLatents(one, autoencoder);
    const blend = new TileBlend(tiles, size, factor);
    for (const [row, top] of tiles.tops.entries()) {
      for (const [column, left] of tiles.lefts.entries()) {
        throwIfAborted(signal);
        const tile = float32(shape, cutTile(whole, size, tiles, top, left));
        const outputs = await decoder.run({ latents: tile }, { signal });
        blend.add(outputs["image"]!.data as Float32Array, row, column);
      }
    }
    images.push(toRgbImage(blend.result, 0, size.width * factor, size.height * factor));
  }
  return images;
}
