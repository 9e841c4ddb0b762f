/** @file Recipe: the autoencoder, by foreground-weighted reconstruction and a little divergence from the normal. */

import { add, exp, input, mul, reduceMean, sqrt, sub } from "../../graph/builder.js";
import type { AutoencoderConfig } from "../../models/autoencoder-kl.js";
import { autoencoderFactor, buildDecoder, buildEncoder } from "../../models/autoencoder-kl.js";
import { rootScope } from "../../nn/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { float32 } from "../../tensor/tensor.js";
import { cropped, foregroundWeights, imageTensor, sampleRandom, trainingSample } from "../demo-samples.js";
import { gaussianDivergence, weightedReconstruction } from "../losses.js";
import type { Recipe } from "../loop.js";
import type { RecipeSettings } from "./recipe-settings.js";
import { startValues } from "./recipe-settings.js";

/** Settings of the autoencoder's training. */
export interface AutoencoderSettings extends RecipeSettings {
  /** Weight of the divergence. */
  readonly divergence: number;
  /** Weight of a shape's pixels; the background's is 1. */
  readonly foreground: number;
  /** Noise on the latents, as a share of their own deviation: the decoder learns to tolerate a denoiser's errors. @default 0 */
  readonly latentNoise?: number | undefined;
  /** Train on square parts of this many pixels. @default whole pictures */
  readonly crop?: number | undefined;
}

/** Parameters are named as in the autoencoder's file. */
export function autoencoderRecipe(
  config: AutoencoderConfig,
  settings: AutoencoderSettings,
  start?: ReadonlyMap<string, Tensor>,
): Recipe {
  const { batchSize, divergence, foreground, latentNoise = 0, seed = 1 } = settings;
  const side = settings.crop ?? 64;
  const cells = side / autoencoderFactor(config);
  const latentShape = [batchSize, config.latentChannels, cells, cells];
  const scope = rootScope({ mode: "training" });
  const image = input("image", "float32", [batchSize, 3, side, side]);
  const weight = input("weight", "float32", [batchSize, 1, side, side]);
  const posteriorNoise = input("posteriorNoise", "float32", latentShape);
  const { mean, logVariance } = buildEncoder(scope, config, image);
  let latents = add(mean, mul(exp(mul(logVariance, 0.5)), posteriorNoise));
  if (latentNoise > 0) {
    // Deviation of each channel over the batch; a constant of the loss would need a second pass, so it takes part in the gradient.
    const centred = sub(mean, reduceMean(mean, [0, 2, 3]));
    const deviation = sqrt(add(reduceMean(mul(centred, centred), [0, 2, 3]), 1e-6));
    latents = add(latents, mul(mul(deviation, latentNoise), input("latentNoise", "float32", latentShape)));
  }
  const reconstruction = weightedReconstruction(buildDecoder(scope, config, latents), image, weight);
  const kl = gaussianDivergence(mean, logVariance);
  const loss = add(reconstruction, mul(kl, divergence));
  return {
    ...settings,
    task: "autoencoder",
    seed,
    accumulate: settings.accumulate ?? 1,
    objective: { loss, metrics: { reconstruction, kl }, parameters: startValues(loss, seed, start) },
    batch(cursor, generator) {
      const pictures = Array.from({ length: batchSize }, (_, i) => {
        const random = sampleRandom(seed, cursor + i);
        return cropped(trainingSample(random), side, random);
      });
      const count = latentShape.reduce((product, size) => product * size, 1);
      const noise = (): Tensor => float32(latentShape, generator.randn(count));
      return {
        image: imageTensor(pictures),
        weight: foregroundWeights(pictures, foreground),
        posteriorNoise: noise(),
        ...(latentNoise > 0 ? { latentNoise: noise() } : {}),
      };
    },
  };
}

/**
 * Gives each latent channel mean 0 and deviation 1 by folding the normalisation into `quant_conv` and its inverse into
 * `post_quant_conv`, so that the file stays a plain AutoencoderKL with scaling factor 1.
 *
 *     z' = (z - mean) / std:   W_q' = W_q / std, b_q' = (b_q - mean) / std, logvar' = logvar - 2 ln std
 *     post(z) = post'(z'):     W_p' = W_p diag(std), b_p' = b_p + W_p mean
 */
export function foldLatentScale(
  parameters: ReadonlyMap<string, Tensor>,
  mean: readonly number[],
  std: readonly number[],
): Map<string, Tensor> {
  const folded = new Map(parameters);
  const copy = (name: string): Float32Array => {
    const tensor = parameters.get(name) as Tensor;
    const data = (tensor.data as Float32Array).slice();
    folded.set(name, { ...tensor, data } as Tensor);
    return data;
  };
  const channels = mean.length;
  const [weight, bias] = [copy("quant_conv.weight"), copy("quant_conv.bias")];
  for (let row = 0; row < 2 * channels; row++) {
    const [centre, scale] = [mean[row % channels] as number, std[row % channels] as number];
    if (row >= channels) {
      bias[row] = (bias[row] as number) - 2 * Math.log(scale);
      continue;
    }
    bias[row] = ((bias[row] as number) - centre) / scale;
    for (let i = 0; i < 2 * channels; i++) {
      weight[row * 2 * channels + i] = (weight[row * 2 * channels + i] as number) / scale;
    }
  }
  const [after, afterBias] = [copy("post_quant_conv.weight"), copy("post_quant_conv.bias")];
  for (let row = 0; row < channels; row++) {
    for (let i = 0; i < channels; i++) {
      const at = row * channels + i;
      afterBias[row] = (afterBias[row] as number) + (after[at] as number) * (mean[i] as number);
      after[at] = (after[at] as number) * (std[i] as number);
    }
  }
  return folded;
}
