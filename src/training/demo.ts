/** @file Trains the demo world's networks, one stage at a time, into folders of the shipped layout. */

import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { openStableDiffusion } from "../diffusion/stable-diffusion.js";
import { ModelError } from "../errors.js";
import { graph, input, mul } from "../graph/builder.js";
import type { AutoencoderConfig } from "../models/autoencoder-kl.js";
import { autoencoderFactor, buildEncoder, parseAutoencoderConfig } from "../models/autoencoder-kl.js";
import { parseClipConfig } from "../models/clip.js";
import { parseClipTextConfig } from "../models/clip-text.js";
import { imageRewardConfig } from "../models/image-reward.js";
import { parseUnetConfig } from "../models/unet-2d-condition.js";
import { rootScope } from "../nn/scope.js";
import { PICTURE_SIZE } from "../demo/scene.js";
import type { Device } from "../runtime/device.js";
import { openDevice } from "../runtime/device.js";
import { parseSchedulerText } from "../samplers/scheduler-config.js";
import type { Tensor } from "../tensor/tensor.js";
import { openBertTokenizer } from "../tokenizers/bert.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import { openWeights } from "../weights/open.js";
import { copyConfigurations, DEMO_WEIGHTS, readJson, readParameters, readText, writeParameters } from "./demo-files.js";
import { generatedPairs, loadPairs, savePairs } from "./demo-generated.js";
import { imageTensor, sampleRandom, trainingSample, type RankedPair } from "./demo-samples.js";
import type { DemoStage } from "./demo-settings.js";
import { defaultSettingsPath, readDemoSettings } from "./demo-settings.js";
import type { Recipe, TrainingResult } from "./loop.js";
import { train } from "./loop.js";
import type { StatusStream } from "./progress.js";
import { autoencoderRecipe, foldLatentScale } from "./recipes/autoencoder.js";
import { DENOISER_PREFIXES, denoiserRecipe } from "./recipes/denoiser.js";
import { judgeRecipe } from "./recipes/judge.js";
import { rewardRecipe } from "./recipes/reward.js";

/** Pictures from which the latents' mean and deviation are measured. */
const MEASURED_PICTURES = 256;

/** Options of `trainDemo`. */
export interface TrainDemoOptions {
  /** Folder of demo models (`stable-diffusion/`, `image-reward/`, `clip/`): architectures and tokenizers come from it. */
  readonly models: string;
  /** Go on from the weights of `models` instead of fresh ones. @default false */
  readonly continueWeights?: boolean | undefined;
  /** Folder the trained models, the checkpoints and the logs go to. */
  readonly out: string;
  /** Settings document. @default configs/training/<stage>.yaml of the package */
  readonly config?: string | undefined;
  /** Instead of the document's number of steps: what fits into this time. */
  readonly minutes?: number | undefined;
  /** Instead of the document's number of steps. */
  readonly steps?: number | undefined;
  /** Go on from the checkpoint in `out`. @default false */
  readonly resume?: boolean | undefined;
  /** @default the physical cores */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where progress is shown. @default nowhere */
  readonly stream?: StatusStream | undefined;
}

/** What a stage left behind. */
export interface TrainDemoResult extends Omit<TrainingResult, "parameters"> {
  /** Files with the trained parameters; none when the run was stopped before its end. */
  readonly files: readonly string[];
  /** Folder of the checkpoint and the log. */
  readonly directory: string;
}

interface Stage {
  readonly recipe: Recipe;
  save(parameters: ReadonlyMap<string, Tensor>): Promise<string[]>;
}

/**
 * Trains one stage: its parameters end up in `out`, in the layout of the shipped models. The denoiser needs a trained autoencoder, in
 * `out` or in `models`; the reward also learns from the denoiser's images where there is one. A stopped run leaves a checkpoint.
 * @throws UsageError for settings that do not fit the schema, ModelError for a missing or unfit model, LaurelError for numbers that are not finite
 */
export async function trainDemo(stage: DemoStage, options: TrainDemoOptions): Promise<TrainDemoResult> {
  const device = openDevice(options.threads === undefined ? {} : { threads: options.threads });
  try {
    const { recipe, save } = await prepare(stage, device, options);
    const directory = stageDirectory(options, stage);
    const { parameters, ...result } = await train(
      device,
      { ...recipe, steps: options.steps ?? recipe.steps },
      {
        directory,
        resume: options.resume,
        minutes: options.minutes,
        signal: options.signal,
        stream: options.stream,
      },
    );
    return { ...result, directory, files: result.finished ? await save(parameters) : [] };
  } finally {
    await device.close();
  }
}

/** Folder of a stage's checkpoint and log. */
function stageDirectory({ out }: TrainDemoOptions, stage: DemoStage): string {
  return join(out, "training", stage);
}

function prepare(stage: DemoStage, device: Device, options: TrainDemoOptions): Promise<Stage> {
  switch (stage) {
    case "autoencoder":
      return prepareAutoencoder(device, options);
    case "denoiser":
      return prepareDenoiser(device, options);
    case "reward":
      return prepareReward(device, options);
    case "judge":
      return prepareJudge(options);
    default:
      return stage satisfies never;
  }
}

const settingsOf = <S extends DemoStage>(stage: S, { config }: TrainDemoOptions) =>
  readDemoSettings(stage, config ?? defaultSettingsPath(stage));

/** Start values from the weights of `models`, if they are asked for. */
async function givenWeights(options: TrainDemoOptions, file: string, prefix = ""): Promise<Map<string, Tensor>> {
  return options.continueWeights === true
    ? readParameters(join(options.models, file), prefix)
    : new Map<string, Tensor>();
}

async function prepareAutoencoder(device: Device, options: TrainDemoOptions): Promise<Stage> {
  const settings = settingsOf("autoencoder", options);
  const where = join(options.models, "stable-diffusion", "vae", "config.json");
  const config = parseAutoencoderConfig(readJson(where), where);
  return {
    recipe: autoencoderRecipe(config, settings, await givenWeights(options, DEMO_WEIGHTS.autoencoder)),
    async save(parameters) {
      copyConfigurations(join(options.models, "stable-diffusion"), join(options.out, "stable-diffusion"));
      const path = join(options.out, DEMO_WEIGHTS.autoencoder);
      await writeParameters(
        path,
        config.quantConv && config.postQuantConv
          ? await normalise(device, config, parameters, settings.seed)
          : parameters,
      );
      return [path];
    },
  };
}

/** Measures the latents of training pictures and folds their mean and deviation into the autoencoder. */
async function normalise(
  device: Device,
  config: AutoencoderConfig,
  parameters: ReadonlyMap<string, Tensor>,
  seed: number,
): Promise<Map<string, Tensor>> {
  const encode = await compileEncoder(device, config, parameters);
  const channels = config.latentChannels;
  const [sums, squares] = [new Array<number>(channels).fill(0), new Array<number>(channels).fill(0)];
  let count = 0;
  for (let index = 0; index < MEASURED_PICTURES; index += 16) {
    const pictures = Array.from({ length: 16 }, (_, i) => trainingSample(sampleRandom(seed + 1, index + i)).picture);
    const { shape, data } = await encode(imageTensor(pictures));
    const plane = (shape[2] as number) * (shape[3] as number);
    count += 16 * plane;
    data.forEach((value, i) => {
      const channel = Math.floor(i / plane) % channels;
      // compileEncoder scales; the file's own latents are wanted.
      const latent = Number(value) / config.scalingFactor;
      sums[channel] = (sums[channel] as number) + latent;
      squares[channel] = (squares[channel] as number) + latent * latent;
    });
  }
  const mean = sums.map((sum) => sum / count);
  const std = squares.map((square, c) => Math.sqrt(Math.max(1e-12, square / count - (mean[c] as number) ** 2)));
  return foldLatentScale(
    parameters,
    mean,
    std.map((value) => value * config.scalingFactor),
  );
}

/** A function from images [N, 3, 64, 64] to scaled latents (the posterior's mean). */
async function compileEncoder(
  device: Device,
  config: AutoencoderConfig,
  parameters: ReadonlyMap<string, Tensor>,
): Promise<(image: Tensor) => Promise<Tensor>> {
  const image = input("image", "float32", ["N", 3, PICTURE_SIZE, PICTURE_SIZE]);
  const { mean } = buildEncoder(rootScope({ mode: "inference" }), config, image);
  const network = graph("encoder", { latents: mul(mean, config.scalingFactor) });
  const weights = new Map([...parameters].filter(([name]) => network.parameters.has(name)));
  const missing = [...network.parameters.keys()].filter((name) => !weights.has(name));
  if (missing.length > 0) throw new ModelError(`autoencoder: expected ${missing.join(", ")}, got none`);
  const program = await device.compile(network, { weights });
  return async (pixels) => (await program.run({ image: pixels })).latents as Tensor;
}

async function prepareDenoiser(device: Device, options: TrainDemoOptions): Promise<Stage> {
  const settings = settingsOf("denoiser", options);
  const folder = join(options.models, "stable-diffusion");
  const at = (component: string): string => join(folder, component);
  const config = <T>(component: string, parse: (json: unknown, where: string) => T): T =>
    parse(readJson(join(at(component), "config.json")), join(at(component), "config.json"));
  const autoencoder = config("vae", parseAutoencoderConfig);
  const trained = [join(options.out, DEMO_WEIGHTS.autoencoder), join(options.models, DEMO_WEIGHTS.autoencoder)].find(
    existsSync,
  );
  if (trained === undefined) {
    throw new ModelError(
      `denoiser: expected a trained autoencoder in ${options.out} or ${options.models}, got none; train it first`,
    );
  }
  const schedulerPath = join(at("scheduler"), "scheduler_config.json");
  const prefix = (name: keyof typeof DENOISER_PREFIXES): string => `${DENOISER_PREFIXES[name]}.`;
  const start = new Map([
    ...(await givenWeights(options, DEMO_WEIGHTS.denoiser, prefix("unet"))),
    ...(await givenWeights(options, DEMO_WEIGHTS.textEncoder, prefix("textEncoder"))),
  ]);
  const recipe = denoiserRecipe(
    {
      unet: config("unet", parseUnetConfig),
      text: config("text_encoder", parseClipTextConfig),
      scheduler: parseSchedulerText(readText(schedulerPath), schedulerPath),
      tokenizer: await openClipTokenizer(at("tokenizer")),
      cells: PICTURE_SIZE / autoencoderFactor(autoencoder),
      encode: await compileEncoder(device, autoencoder, await readParameters(trained)),
    },
    settings,
    start,
  );
  return {
    recipe,
    async save(parameters) {
      copyConfigurations(folder, join(options.out, "stable-diffusion"));
      const [unet, text] = [join(options.out, DEMO_WEIGHTS.denoiser), join(options.out, DEMO_WEIGHTS.textEncoder)];
      await writeParameters(unet, parameters, prefix("unet"));
      await writeParameters(text, parameters, prefix("textEncoder"));
      return [unet, text];
    },
  };
}

async function prepareReward(device: Device, options: TrainDemoOptions): Promise<Stage> {
  const settings = settingsOf("reward", options);
  const folder = join(options.models, "image-reward");
  const { entries } = await openWeights(join(options.models, DEMO_WEIGHTS.reward));
  const shapes = new Map([...entries].map(([name, { shape }]) => [name, shape]));
  const own = join(folder, "config.json");
  const config = imageRewardConfig(
    shapes,
    readJson(join(folder, "med_config.json")),
    existsSync(own) ? readJson(own) : undefined,
    folder,
  );
  const tokenizer = await openBertTokenizer(folder, { maxLength: config.maxTextLength });
  const parts = { config, tokenizer, generated: await drawGenerated(device, options) };
  return {
    recipe: rewardRecipe(parts, settings, await givenWeights(options, DEMO_WEIGHTS.reward)),
    async save(parameters) {
      copyConfigurations(folder, join(options.out, "image-reward"));
      const path = join(options.out, DEMO_WEIGHTS.reward);
      await writeParameters(path, parameters);
      return [path];
    },
  };
}

/**
 * Ranked pairs of images of the trained denoiser in `out` or `models`, kept beside the checkpoint; none when the settings ask for none or
 * there is no denoiser. With `minutes`, a third of them may go into drawing.
 */
async function drawGenerated(device: Device, options: TrainDemoOptions): Promise<RankedPair[]> {
  const { generated, seed } = settingsOf("reward", options);
  const models = [options.out, options.models].find((folder) => existsSync(join(folder, DEMO_WEIGHTS.denoiser)));
  if (generated === undefined || models === undefined) return [];
  const kept = join(stageDirectory(options, "reward"), "generated.safetensors");
  if (options.resume === true && existsSync(kept)) return loadPairs(kept);
  const diffusion = await openStableDiffusion(join(models, "stable-diffusion"), device);
  const pairs = await generatedPairs(diffusion, generated, seed, {
    signal: options.signal,
    seconds: options.minutes === undefined ? undefined : options.minutes * 20,
    onProgress: (done) => options.stream?.write(`reward: drawing images, prompt ${done}/${generated.prompts}\n`),
  });
  mkdirSync(dirname(kept), { recursive: true });
  await savePairs(kept, pairs);
  return pairs;
}

async function prepareJudge(options: TrainDemoOptions): Promise<Stage> {
  const settings = settingsOf("judge", options);
  const folder = join(options.models, "clip");
  const where = join(folder, "config.json");
  const config = parseClipConfig(readJson(where), where);
  const tokenizer = await openClipTokenizer(folder);
  return {
    recipe: judgeRecipe({ config, tokenizer }, settings, await givenWeights(options, DEMO_WEIGHTS.judge)),
    async save(parameters) {
      copyConfigurations(folder, join(options.out, "clip"));
      const path = join(options.out, DEMO_WEIGHTS.judge);
      await writeParameters(path, parameters);
      return [path];
    },
  };
}
