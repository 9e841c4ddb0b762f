/** @file Measures the demo models: draws held-out prompts with many seeds and lets the oracle judge; reconstructs and reads renders. */

import { evaluationPrompts } from "../demo/dataset.js";
import { requireDescription } from "../demo/grammar.js";
import { judge } from "../demo/oracle.js";
import type { Picture } from "../demo/render.js";
import { renderScene } from "../demo/render.js";
import type { Random } from "../demo/random.js";
import { createRandom } from "../demo/random.js";
import type { Scene } from "../demo/scene.js";
import { describe, sampleScene } from "../demo/scene.js";
import { isHeldOutScene } from "../demo/split.js";
import type { DiffusionRequest } from "../diffusion/request.js";
import { readModelFolder } from "../diffusion/model-folder.js";
import type { StableDiffusion } from "../diffusion/stable-diffusion.js";
import { CancelledError, ModelError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
import {
  AUTOENCODER_IGNORED_KEYS,
  AUTOENCODER_KEYS_BEYOND_ENCODER,
  AUTOENCODER_KEYS_BEYOND_DECODER,
  autoencoderFactor,
  buildDecoder,
  buildEncoder,
  parseAutoencoderConfig,
} from "../models/autoencoder-kl.js";
import { rootScope } from "../nn/scope.js";
import type { Reward } from "../rewards/contract.js";
import type { Device } from "../runtime/device.js";
import { float32 } from "../tensor/tensor.js";
import type { Interval } from "../util/statistics.js";
import { bootstrap, mean } from "../util/statistics.js";
import { resolveWeights } from "../weights/resolve.js";
import type { JudgedPrompt } from "./demo-figures.js";

/** What {@link judgeDemoImages} works with. */
export interface DemoEvaluation {
  readonly diffusion: StableDiffusion;
  readonly rewards: readonly Reward[];
  /** Distinct places in the list of held-out prompts; half name two shapes and a relation. */
  readonly prompts: number;
  readonly imagesPerPrompt: number;
  /** Sampling settings; what is absent takes the model's default. */
  readonly settings?: Pick<DiffusionRequest, "steps" | "guidance" | "sampler"> | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((finishedPrompts: number) => void) | undefined;
}

/**
 * Draws every held-out prompt with its own seeds, judges each image by the oracle and scores it by each reward.
 * @throws CancelledError when the signal aborts
 */
export async function judgeDemoImages(evaluation: DemoEvaluation): Promise<JudgedPrompt[]> {
  const { diffusion, rewards, prompts, imagesPerPrompt, signal } = evaluation;
  const judged: JudgedPrompt[] = [];
  for (const [index, prompt] of evaluationPrompts(prompts).entries()) {
    const description = requireDescription(prompt);
    const request = {
      ...evaluation.settings,
      prompt,
      seed: index * imagesPerPrompt,
      count: imagesPerPrompt,
      batch: imagesPerPrompt,
    };
    const pictures: Picture[] = [];
    for await (const group of diffusion.generate(request, { signal })) {
      pictures.push(...group.images.map(({ image }) => image));
    }
    const scores = await Promise.all(
      rewards.map((reward) => reward.score(prompt, pictures, signal === undefined ? {} : { signal })),
    );
    judged.push({
      prompt,
      pair: description.pair !== undefined,
      images: pictures.map((picture, i) => ({
        verdict: judge(description, picture).verdict,
        scores: Object.fromEntries(rewards.map(({ name }, r) => [name, scores[r]?.scores[i] ?? Number.NaN])),
      })),
    });
    evaluation.onProgress?.(judged.length);
  }
  return judged;
}

/** Renders of scenes that no training saw. */
function heldOutRenders(count: number, seed: number): { scene: Scene; picture: Picture }[] {
  const random = createRandom(seed);
  const renders: { scene: Scene; picture: Picture }[] = [];
  while (renders.length < count) {
    const scene = sampleScene(random);
    if (isHeldOutScene(scene)) renders.push({ scene, picture: renderScene(scene, random) });
  }
  return renders;
}

/** 1 when every fact of the scene is read back from the picture. */
function readsAs(scene: Scene, picture: Picture): number {
  return judge(describe(createRandom(0), scene, 1), picture).verdict === "holds" ? 1 : 0;
}

/** How well the autoencoder keeps held-out renders. */
export interface AutoencoderFigures {
  /** Peak signal-to-noise ratio in dB over 8-bit RGB, averaged over pictures. */
  readonly psnr: Interval;
  /** Share of reconstructions from which the oracle reads every fact of the scene. */
  readonly oracleAgreement: Interval;
}

/** Encodes and decodes held-out renders. `directory` is a diffusers folder. */
export async function autoencoderFigures(
  directory: string,
  device: Device,
  count: number,
  signal?: AbortSignal,
): Promise<AutoencoderFigures> {
  const folder = await readModelFolder(directory);
  const config = parseAutoencoderConfig(folder.configs.vae, folder.whereOf("vae"));
  const renders = heldOutRenders(count, 64);
  const { width, height } = renders[0]?.picture ?? { width: 0, height: 0 };
  const factor = autoencoderFactor(config);
  const scope = rootScope({ mode: "inference" });
  const pixels = input("pixels", "float32", ["N", 3, height, width]);
  const latents = input("latents", "float32", ["N", config.latentChannels, height / factor, width / factor]);
  const encoder = graph("encoder", { mean: buildEncoder(scope, config, pixels).mean });
  const decoder = graph("decoder", { image: buildDecoder(scope, config, latents) });
  const source = await folder.openWeights("vae");
  const weightsOf = (network: typeof encoder, beyond: readonly RegExp[]) =>
    resolveWeights(network.parameters, source, {
      where: "AutoencoderKL",
      ignore: [...AUTOENCODER_IGNORED_KEYS, ...beyond],
    });
  const encode = await device.compile(encoder, { weights: weightsOf(encoder, AUTOENCODER_KEYS_BEYOND_ENCODER) });
  const decode = await device.compile(decoder, { weights: weightsOf(decoder, AUTOENCODER_KEYS_BEYOND_DECODER) });
  try {
    const figures: { psnr: number; agrees: number }[] = [];
    for (const { scene, picture } of renders) {
      if (signal?.aborted === true) throw new CancelledError("evaluation was cancelled");
      const code = await encode.run({ pixels: float32([1, 3, height, width], toPlanes(picture)) });
      const image = (await decode.run({ latents: code["mean"] as NonNullable<(typeof code)["mean"]> }))["image"];
      if (image === undefined)
        throw new ModelError(`${folder.directory}: expected an image from the decoder, got none`);
      const restored = { width, height, data: fromPlanes(image.data as Float32Array) };
      figures.push({ psnr: psnr(picture.data, restored.data), agrees: readsAs(scene, restored) });
    }
    return {
      psnr: bootstrap(figures, (sample) => mean(sample.map((figure) => figure.psnr))),
      oracleAgreement: bootstrap(figures, (sample) => mean(sample.map((figure) => figure.agrees))),
    };
  } finally {
    await Promise.all([encode.dispose(), decode.dispose()]);
  }
}

/** [height, width, 3] bytes to [3, height, width] in [-1, 1]. */
function toPlanes({ width, height, data }: Picture): Float32Array {
  const size = width * height;
  return Float32Array.from(
    { length: 3 * size },
    (_, i) => (data[3 * (i % size) + Math.floor(i / size)] ?? 0) / 127.5 - 1,
  );
}

/** The reverse of {@link toPlanes}, clamped and rounded. */
function fromPlanes(planes: Float32Array): Uint8Array {
  const size = planes.length / 3;
  return Uint8Array.from(planes, (_, i) =>
    Math.round(127.5 * (Math.min(1, Math.max(-1, planes[(i % 3) * size + Math.floor(i / 3)] ?? 0)) + 1)),
  );
}

function psnr(a: Uint8Array, b: Uint8Array): number {
  const squares = mean(Float64Array.from(a, (value, i) => (value - (b[i] ?? 0)) ** 2));
  return 10 * Math.log10(255 ** 2 / squares);
}

/** Shares of renders from which the oracle reads every fact, as drawn and disturbed. */
export interface OracleFigures {
  readonly plain: Interval;
  /** Gaussian noise, standard deviation 6 of 255. */
  readonly noise: Interval;
  /** Binomial 3x3 blur. */
  readonly blur: Interval;
}

/** Reads renders back, plain and mildly disturbed. */
export function oracleFigures(count: number): OracleFigures {
  const random = createRandom(65);
  const renders = Array.from({ length: count }, () => {
    const scene = sampleScene(random);
    return { scene, picture: renderScene(scene, random) };
  });
  const share = (disturb: (picture: Picture) => Picture): Interval =>
    bootstrap(
      renders.map(({ scene, picture }) => readsAs(scene, disturb(picture))),
      mean,
    );
  return {
    plain: share((picture) => picture),
    noise: share((picture) => addNoise(picture, 6, random)),
    blur: share(blur),
  };
}

/** Adds Gaussian noise (Box-Muller) of `deviation` levels. */
export function addNoise(picture: Picture, deviation: number, random: Random): Picture {
  const data = Uint8Array.from(picture.data, (value) => {
    const normal = Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
    return Math.min(255, Math.max(0, Math.round(value + deviation * normal)));
  });
  return { ...picture, data };
}

/** Blurs by the kernel [1 2 1] x [1 2 1] / 16; edges repeat. */
export function blur(picture: Picture): Picture {
  const { width, height } = picture;
  const at = (x: number, y: number, c: number): number => {
    const u = Math.min(width - 1, Math.max(0, x));
    const v = Math.min(height - 1, Math.max(0, y));
    return picture.data[3 * (v * width + u) + c] ?? 0;
  };
  const data = Uint8Array.from(picture.data, (_, i) => {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    const row = (v: number): number => at(x - 1, v, c) + 2 * at(x, v, c) + at(x + 1, v, c);
    return Math.round((row(y - 1) + 2 * row(y) + row(y + 1)) / 16);
  });
  return { ...picture, data };
}
