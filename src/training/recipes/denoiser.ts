/** @file Recipe: the denoiser together with its text encoder, on latents of the finished autoencoder. */

import { input } from "../../graph/builder.js";
import type { ClipTextConfig } from "../../models/clip-text.js";
import { buildClipText } from "../../models/clip-text.js";
import type { UnetConfig } from "../../models/unet-2d-condition.js";
import { buildUnet } from "../../models/unet-2d-condition.js";
import { rootScope } from "../../nn/scope.js";
import { createAlphaBars } from "../../samplers/noise-schedule.js";
import type { SchedulerConfig } from "../../samplers/scheduler-config.js";
import type { Tensor } from "../../tensor/tensor.js";
import { float32 } from "../../tensor/tensor.js";
import type { Tokenizer } from "../../tokenizers/types.js";
import { canonicalPrompt, imageTensor, sampleRandom, tokenTensors, trainingSample } from "../demo-samples.js";
import { meanSquaredError } from "../losses.js";
import type { Recipe } from "../loop.js";
import type { RecipeSettings } from "./recipe-settings.js";
import { startValues } from "./recipe-settings.js";

/** Prefixes of the two networks' parameters in this recipe. */
export const DENOISER_PREFIXES = { unet: "unet", textEncoder: "text_encoder" } as const;

/** Settings of the denoiser's training. */
export interface DenoiserSettings extends RecipeSettings {
  /** Share of samples whose prompt is empty, for guidance. */
  readonly promptDropout: number;
}

/** The networks and what stands around them. */
export interface DenoiserParts {
  readonly unet: UnetConfig;
  readonly text: ClipTextConfig;
  readonly scheduler: SchedulerConfig;
  readonly tokenizer: Tokenizer;
  /** Latent cells along a side. */
  readonly cells: number;
  /** Scaled latents [N, C, cells, cells] of images [N, 3, H, W] in [-1, 1]. */
  encode(image: Tensor): Promise<Tensor>;
}

/**
 * What the denoiser is shown and asked for at timestep t:
 *
 *     x_t = sqrt(alphaBar) x_0 + sqrt(1 - alphaBar) eps
 *     epsilon:       eps
 *     v_prediction:  sqrt(alphaBar) eps - sqrt(1 - alphaBar) x_0     (Salimans & Ho 2022, arXiv 2202.00512)
 *     sample:        x_0
 *
 * @param clean x_0, rows of `size` numbers; @param noise eps, as many; @param timesteps one a row
 */
export function noisyTarget(
  clean: Float32Array,
  noise: Float32Array,
  timesteps: ArrayLike<number>,
  alphaBars: Float32Array,
  prediction: SchedulerConfig["prediction_type"],
): { sample: Float32Array; target: Float32Array } {
  const size = clean.length / timesteps.length;
  const sample = new Float32Array(clean.length);
  const target = new Float32Array(clean.length);
  for (let row = 0; row < timesteps.length; row++) {
    const alphaBar = alphaBars[timesteps[row] as number] as number;
    const [signal, spread] = [Math.sqrt(alphaBar), Math.sqrt(1 - alphaBar)];
    for (let i = row * size; i < (row + 1) * size; i++) {
      const [x, eps] = [clean[i] as number, noise[i] as number];
      sample[i] = signal * x + spread * eps;
      target[i] = prediction === "epsilon" ? eps : prediction === "sample" ? x : signal * eps - spread * x;
    }
  }
  return { sample, target };
}

/** Parameters are named as in the files, behind `DENOISER_PREFIXES`. */
export function denoiserRecipe(
  parts: DenoiserParts,
  settings: DenoiserSettings,
  start?: ReadonlyMap<string, Tensor>,
): Recipe {
  const { unet, text, scheduler, tokenizer, cells } = parts;
  const { batchSize, promptDropout, seed = 1 } = settings;
  const shape = [batchSize, unet.inChannels, cells, cells];
  const ids = input("ids", "int64", [batchSize, tokenizer.maxLength]);
  const { lastHiddenState } = buildClipText(
    rootScope({ prefix: DENOISER_PREFIXES.textEncoder, mode: "training" }),
    text,
    ids,
  );
  const prediction = buildUnet(rootScope({ prefix: DENOISER_PREFIXES.unet, mode: "training" }), unet, {
    sample: input("sample", "float32", shape),
    timestep: input("timestep", "float32", [batchSize]),
    encoderHiddenStates: lastHiddenState,
  });
  const loss = meanSquaredError(prediction, input("target", "float32", shape));
  const alphaBars = createAlphaBars(scheduler);
  return {
    ...settings,
    task: "denoiser",
    seed,
    accumulate: settings.accumulate ?? 1,
    objective: { loss, parameters: startValues(loss, seed, start) },
    async batch(cursor, generator) {
      const samples = Array.from({ length: batchSize }, (_, i) => {
        const random = sampleRandom(seed, cursor + i);
        const sample = trainingSample(random);
        const prompt = random.chance(promptDropout) ? "" : canonicalPrompt(random, sample.scene);
        return { picture: sample.picture, prompt };
      });
      const latents = await parts.encode(imageTensor(samples.map(({ picture }) => picture)));
      const clean = latents.data as Float32Array;
      const timesteps = generator.randint(0, alphaBars.length, batchSize);
      const noise = generator.randn(clean.length);
      const { sample, target } = noisyTarget(clean, noise, timesteps, alphaBars, scheduler.prediction_type);
      return {
        ids: tokenTensors(
          tokenizer,
          samples.map(({ prompt }) => prompt),
        ).ids,
        sample: float32(shape, sample),
        timestep: float32([batchSize], timesteps),
        target: float32(shape, target),
      };
    },
  };
}
