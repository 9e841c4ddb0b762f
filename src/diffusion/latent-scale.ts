/** @file Between the autoencoder's latents and the denoiser's, which have about unit variance. */

import type { AutoencoderConfig } from "../models/autoencoder-kl.js";

/** What the scale depends on. */
export type LatentScale = Pick<AutoencoderConfig, "scalingFactor" | "latents" | "latentChannels">;

/** The autoencoder's latents as the denoiser knows them: (latents - mean) * scalingFactor / deviation, where there is no mean latents * scalingFactor. */
export function toDenoiserLatents(values: Float32Array, scale: LatentScale): Float32Array {
  const { scalingFactor, latents } = scale;
  if (latents === undefined) return values.map((value) => scalingFactor * value);
  return values.map((value, i) => {
    const channel = channelOf(i, values, scale);
    const centred = Math.fround(value - latents.mean[channel]!);
    return Math.fround(centred * scalingFactor) / latents.deviation[channel]!;
  });
}

/** The way back. */
export function toAutoencoderLatents(values: Float32Array, scale: LatentScale): Float32Array {
  const { scalingFactor, latents } = scale;
  if (latents === undefined) return values.map((value) => value / scalingFactor);
  return values.map((value, i) => {
    const channel = channelOf(i, values, scale);
    return Math.fround(Math.fround(value * latents.deviation[channel]!) / scalingFactor) + latents.mean[channel]!;
  });
}

/** The channel of an entry of one latent [channels, h, w]. */
function channelOf(index: number, { length }: Float32Array, { latentChannels }: LatentScale): number {
  return Math.floor((index * latentChannels) / length);
}
