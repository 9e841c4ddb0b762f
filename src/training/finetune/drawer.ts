/** @file Draws with a model that is being trained: many prompts in one batch, without gradient, with the parameters as they are. */

import type { RgbImage } from "../../image/types.js";
import { guide } from "../../diffusion/guidance.js";
import { beginState, type LatentState, nextState } from "../../diffusion/latents.js";
import { toEncoderInput, toRgbImage } from "../../diffusion/pixels.js";
import { gather, graph, input } from "../../graph/builder.js";
import type { Graph } from "../../graph/types.js";
import { rootScope } from "../../nn/scope.js";
import { buildClipText } from "../../models/clip-text.js";
import { buildDecoder, buildEncoder } from "../../models/autoencoder-kl.js";
import { buildUnet } from "../../models/unet-2d-condition.js";
import type { Device } from "../../runtime/device.js";
import { LazyProgram } from "../../runtime/lazy-program.js";
import type { Sampler } from "../../samplers/contract.js";
import { TorchGenerator } from "../../tensor/random.js";
import { float32, int64, type Tensor } from "../../tensor/tensor.js";
import { throwIfAborted } from "../../util/abort.js";
import { loraScale, PREFIXES, type TunedModel } from "./tuned-model.js";

/** Whose predictions: the base's, or those of the parameters as they are. */
export type Version = "base" | "tuned";

/** Rows of a run at most, and latent cells of all its rows: more are cut. */
const MAX_ROWS = 64;
const MAX_CELLS = 1 << 14;
/** Prompts whose states are kept. */
const KEPT_PROMPTS = 4096;

/** Pictures to be drawn together, one prompt and one seed each. */
export interface Drawing {
  readonly prompts: readonly string[];
  readonly seeds: readonly number[];
  readonly sampler: Sampler;
  readonly guidance: number;
  /** Evaluations after which to stop, for all or for each. @default all of the sampler's */
  readonly stop?: number | readonly number[] | undefined;
  /** @default "tuned" */
  readonly version?: Version | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Rows of a denoiser's run. */
export interface DenoiserRows {
  /** [rows * size], already scaled for the denoiser. */
  readonly sample: Float32Array;
  readonly timesteps: ArrayLike<number>;
  readonly prompts: readonly string[];
  /** Classifier-free guidance where above 1. @default 1 */
  readonly guidance?: number | undefined;
}

/** Distinct prompts and their states, a row each. */
interface EncodedPrompts {
  readonly unique: readonly string[];
  readonly conditioning: Tensor<"float32">;
}

/** The programs of a model in training that need no gradient. */
export class Drawer {
  readonly #model: TunedModel;
  readonly #text: Record<Version, LazyProgram>;
  readonly #denoiser: Record<Version, LazyProgram>;
  readonly #decoder: LazyProgram;
  readonly #encoder: LazyProgram;
  /** States of prompts, for parameters that do not change. */
  readonly #states = new Map<string, Float32Array>();
  /** Numbers of one latent. */
  readonly latentSize: number;
  readonly latentShape: readonly [number, number, number];

  constructor(device: Device, model: TunedModel) {
    this.#model = model;
    const { size, configs, weights, start } = model;
    this.latentShape = [configs.autoencoder.latentChannels, size.height, size.width];
    this.latentSize = this.latentShape.reduce((product, side) => product * side, 1);
    const trainable = new Set(start.keys());
    const program = (label: string, network: () => Graph, trained: boolean): LazyProgram =>
      new LazyProgram(device, network, { weights, label, ...(trained ? { trainable } : {}) });
    // a base that differs from the tuned model only by the scale of its low-rank terms needs no program of its own
    const shared = model.settings.kind === "lora";
    const tunedDenoiser = program("denoiser", () => samplingGraph(model, "tuned"), true);
    const tunedText = program("text encoder", () => textGraph(model, "tuned"), true);
    this.#denoiser = {
      tuned: tunedDenoiser,
      base: shared ? tunedDenoiser : program("base denoiser", () => samplingGraph(model, "base"), false),
    };
    this.#text = {
      tuned: tunedText,
      base:
        shared || !model.trainsText ? tunedText : program("base text encoder", () => textGraph(model, "base"), false),
    };
    const { width, height } = model.defaults;
    this.#decoder = program("decoder", () => prefixedDecoder(model), false);
    this.#encoder = program("encoder", () => prefixedEncoder(model, width, height), false);
  }

  /** float32 [prompts, length, width], a row for each prompt. */
  async conditioning(prompts: readonly string[], version: Version = "tuned"): Promise<Tensor<"float32">> {
    const { tokenizer, configs, trainsText } = this.#model;
    const rowSize = tokenizer.maxLength * configs.text.width;
    const fixed = !trainsText || version === "base";
    const known = fixed ? this.#states : new Map<string, Float32Array>();
    const unique = [...new Set(prompts)];
    if (known.size + unique.length > KEPT_PROMPTS) known.clear();
    const missing = unique.filter((prompt) => !known.has(prompt));
    for (let at = 0; at < missing.length; at += MAX_ROWS) {
      const part = missing.slice(at, at + MAX_ROWS);
      const program = await this.#text[version].get();
      const { ids } = this.tokens(part);
      const outputs = await program.run({ ids, ...this.#scale(program.inputs, version) });
      const states = outputs["lastHiddenState"]!.data as Float32Array;
      part.forEach((prompt, i) => known.set(prompt, states.slice(i * rowSize, (i + 1) * rowSize)));
    }
    const rows = new Float32Array(prompts.length * rowSize);
    prompts.forEach((prompt, i) => rows.set(known.get(prompt)!, i * rowSize));
    return float32([prompts.length, tokenizer.maxLength, configs.text.width], rows);
  }

  /** Token ids, int64 [prompts, length]. */
  tokens(prompts: readonly string[]): { readonly ids: Tensor<"int64"> } {
    const { tokenizer } = this.#model;
    const ids = prompts.flatMap((prompt) => tokenizer.encode(prompt).ids);
    return { ids: int64([prompts.length, tokenizer.maxLength], ids) };
  }

  /** The denoiser's outputs, or what guidance makes of them, row by row. */
  async predict(rows: DenoiserRows, version: Version = "tuned"): Promise<Float32Array> {
    return this.#guided(rows, version, await this.#encodePrompts(rows, version));
  }

  async #encodePrompts(
    { prompts, guidance = 1 }: Pick<DenoiserRows, "prompts" | "guidance">,
    version: Version,
  ): Promise<EncodedPrompts> {
    const unique = [...new Set(guidance > 1 ? ["", ...prompts] : prompts)];
    return { unique, conditioning: await this.conditioning(unique, version) };
  }

  async #guided(rows: DenoiserRows, version: Version, encoded: EncodedPrompts): Promise<Float32Array> {
    const { sample, timesteps, prompts, guidance = 1 } = rows;
    if (guidance <= 1) return this.#predict(rows, version, encoded);
    const both = Float32Array.from({ length: 2 * sample.length }, (_, i) => sample[i % sample.length]!);
    const prediction = await this.#predict(
      {
        sample: both,
        timesteps: [...Array.from(timesteps), ...Array.from(timesteps)],
        prompts: [...prompts.map(() => ""), ...prompts],
      },
      version,
      encoded,
    );
    return guide(prediction.subarray(0, sample.length), prediction.subarray(sample.length), guidance);
  }

  async #predict(
    { sample, timesteps, prompts }: DenoiserRows,
    version: Version,
    { unique, conditioning }: EncodedPrompts,
  ): Promise<Float32Array> {
    const program = await this.#denoiser[version].get();
    const result = new Float32Array(sample.length);
    const [, height, width] = this.latentShape;
    const most = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_CELLS / (height * width))));
    for (let at = 0; at < prompts.length; at += most) {
      const rows = Math.min(most, prompts.length - at);
      const part = sample.slice(at * this.latentSize, (at + rows) * this.latentSize);
      const outputs = await program.run({
        sample: float32([rows, ...this.latentShape], part),
        timestep: float32(
          [rows],
          Array.from({ length: rows }, (_, i) => timesteps[at + i]!),
        ),
        row: int64(
          [rows],
          prompts.slice(at, at + rows).map((prompt) => unique.indexOf(prompt)),
        ),
        conditioning,
        ...this.#scale(program.inputs, version),
      });
      result.set(outputs["prediction"]!.data as Float32Array, at * this.latentSize);
    }
    return result;
  }

  /** Latents from noise, along the sampler's trajectory. @throws CancelledError when the signal aborts */
  async draw(drawing: Drawing): Promise<LatentState[]> {
    const { prompts, seeds, sampler, guidance, stop = sampler.timesteps.length, signal } = drawing;
    const { version = "tuned" } = drawing;
    const encoded = await this.#encodePrompts({ prompts, guidance }, version);
    const stops = typeof stop === "number" ? seeds.map(() => stop) : stop;
    const states = seeds.map((seed) => beginState(seed, this.latentSize, sampler));
    const last = Math.max(...stops);
    for (let step = 0; step < last; step++) {
      throwIfAborted(signal);
      const active = stops.flatMap((own, i) => (own > step ? [i] : []));
      const outputs = await this.#evaluate(
        sampler,
        active.map((i) => states[i]!),
        active.map((i) => prompts[i]!),
        { guidance, version, encoded },
      );
      active.forEach((i, at) => (states[i] = nextState(states[i]!, sampler, outputs[at]!, guidance > 1 ? 2 : 1)));
    }
    return states;
  }

  /** What guidance makes of the denoiser's predictions for states that are all at the same step. */
  async #evaluate(
    sampler: Sampler,
    states: readonly LatentState[],
    prompts: readonly string[],
    { guidance, version, encoded }: { guidance: number; version: Version; encoded: EncodedPrompts },
  ): Promise<Float32Array[]> {
    const step = states[0]!.stepIndex;
    const scale = sampler.inputScales[step]!;
    const sample = new Float32Array(states.length * this.latentSize);
    states.forEach(({ latents }, row) => {
      for (let j = 0; j < this.latentSize; j++) sample[row * this.latentSize + j] = latents[j]! * scale;
    });
    const timesteps = new Float32Array(states.length).fill(sampler.timesteps[step]!);
    const prediction = await this.#guided({ sample, timesteps, prompts, guidance }, version, encoded);
    return states.map((_, i) => prediction.slice(i * this.latentSize, (i + 1) * this.latentSize));
  }

  /** The pictures of scaled latents. @throws CancelledError when the signal aborts */
  async decode(latents: readonly Float32Array[], signal?: AbortSignal): Promise<RgbImage[]> {
    const program = await this.#decoder.get();
    const { configs, defaults } = this.#model;
    const { scalingFactor } = configs.autoencoder;
    const group = Math.max(1, Math.floor((1 << 18) / (defaults.width * defaults.height)));
    const images: RgbImage[] = [];
    for (let at = 0; at < latents.length; at += group) {
      throwIfAborted(signal);
      const part = latents.slice(at, at + group);
      const data = new Float32Array(part.length * this.latentSize);
      part.forEach((one, i) =>
        data.set(
          one.map((value) => value / scalingFactor),
          i * this.latentSize,
        ),
      );
      const outputs = await program.run({ latents: float32([part.length, ...this.latentShape], data) });
      const pixels = outputs["image"]!.data as Float32Array;
      part.forEach((_, i) => images.push(toRgbImage(pixels, i, defaults.width, defaults.height)));
    }
    return images;
  }

  /** Scaled latents of pictures, drawn from the encoder's distribution with a seed each. */
  async encode(images: readonly RgbImage[], seeds: readonly number[]): Promise<Float32Array[]> {
    const program = await this.#encoder.get();
    const { configs, defaults } = this.#model;
    const latents: Float32Array[] = [];
    for (const [i, image] of images.entries()) {
      const pixels = toEncoderInput(image, defaults.width, defaults.height);
      const outputs = await program.run({ image: float32([1, 3, defaults.height, defaults.width], pixels) });
      const mean = outputs["mean"]!.data as Float32Array;
      const logVariance = outputs["logVariance"]!.data as Float32Array;
      const noise = new TorchGenerator(seeds[i]!).randn(mean.length);
      latents.push(
        mean.map(
          (value, j) => configs.autoencoder.scalingFactor * (value + Math.exp(0.5 * logVariance[j]!) * noise[j]!),
        ),
      );
    }
    return latents;
  }

  async dispose(): Promise<void> {
    const programs = new Set([
      ...Object.values(this.#text),
      ...Object.values(this.#denoiser),
      this.#decoder,
      this.#encoder,
    ]);
    await Promise.all([...programs].map((program) => program.dispose()));
  }

  /** What the programs with low-rank terms are fed beside their inputs. */
  #scale(inputs: readonly { readonly name: string }[], version: Version): Record<string, Tensor> {
    if (!inputs.some(({ name }) => name === SCALE)) return {};
    return { [SCALE]: float32([], [version === "base" ? 0 : loraScale(this.#model)]) };
  }
}

/** Feed that multiplies the low-rank terms. */
const SCALE = "lora_scale";

function textGraph(model: TunedModel, version: Version): Graph {
  const { configs, tokenizer } = model;
  const ids = input("ids", "int64", ["N", tokenizer.maxLength]);
  const scope = model.scope(PREFIXES.text, "inference", version === "base" ? undefined : input(SCALE, "float32", []));
  return graph("text-encoder", { lastHiddenState: buildClipText(scope, configs.text, ids).lastHiddenState });
}

function samplingGraph(model: TunedModel, version: Version): Graph {
  const { configs, size, tokenizer } = model;
  const { unet } = configs;
  const scope = model.scope(PREFIXES.unet, "inference", version === "base" ? undefined : input(SCALE, "float32", []));
  const conditioning = input("conditioning", "float32", ["P", tokenizer.maxLength, unet.crossAttentionWidth]);
  const prediction = buildUnet(scope, unet, {
    sample: input("sample", "float32", ["N", unet.inChannels, size.height, size.width]),
    timestep: input("timestep", "float32", ["N"]),
    encoderHiddenStates: gather(conditioning, input("row", "int64", ["N"]), 0),
  });
  return graph("denoiser", { prediction });
}

function prefixedDecoder({ configs, size }: TunedModel): Graph {
  const { autoencoder } = configs;
  const latents = input("latents", "float32", ["N", autoencoder.latentChannels, size.height, size.width]);
  const scope = rootScope({ prefix: PREFIXES.vae, mode: "inference" });
  return graph("decoder", { image: buildDecoder(scope, autoencoder, latents) });
}

function prefixedEncoder({ configs }: TunedModel, width: number, height: number): Graph {
  const { autoencoder } = configs;
  const image = input("image", "float32", ["N", autoencoder.inChannels, height, width]);
  const scope = rootScope({ prefix: PREFIXES.vae, mode: "inference" });
  const { mean, logVariance } = buildEncoder(scope, autoencoder, image);
  return graph("encoder", { mean, logVariance });
}
