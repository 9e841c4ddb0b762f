/** @file Stable Diffusion from a diffusers folder: prompt and seed to latents, step by step, to images. */

import { join } from "node:path";
import { CancelledError, ModelError, UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import type { Device } from "../runtime/device.js";
import type { Program } from "../runtime/program.js";
import { createSampler } from "../samplers/sampler.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount, float32 } from "../tensor/tensor.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import { beginState, forkState, guide, type LatentState, nextState } from "./latents.js";
import { defaultsOf, type ModelFolder, readModelFolder } from "./model-folder.js";
import type { LatentSize, NetworkConfigs } from "./networks.js";
import {
  decoderGraph,
  denoiserGraph,
  readNetworkConfigs,
  resolveNetworkWeights,
  textEncoderGraph,
} from "./networks.js";
import { toRgbImage } from "./pixels.js";
import { DiffusionPrograms } from "./programs.js";
import type { DiffusionDefaults, DiffusionRequest, ResolvedRequest, SizeRule } from "./request.js";
import { isGuided, resolveDiffusionRequest } from "./request.js";
import { TextConditioner, truncationWarnings } from "./text-conditioning.js";
import type { DiffusionGroup, DiffusionOptions, Trajectory } from "./trajectory.js";

export type * from "./trajectory.js";

/** Largest side in pixels. */
const MAX_SIDE = 2048;
/** Images are decoded together up to this many pixels: the decoder's inner tensors are many times larger. */
const DECODED_PIXELS = 1 << 18;

/**
 * Opens a diffusers folder (`model_index.json`). Configurations and the weights' names and shapes are checked now; programs are compiled when
 * first used.
 * @throws ModelError when the folder is incomplete, damaged or of another kind
 */
export async function openStableDiffusion(directory: string, device: Device): Promise<StableDiffusion> {
  const folder = await readModelFolder(directory);
  const configs = readNetworkConfigs(folder);
  const tokenizer = await openClipTokenizer(join(folder.directory, "tokenizer"));
  const length = tokenizer.maxLength;
  const { maxPositions, vocabulary } = configs.text;
  if (length > maxPositions || tokenizer.vocabularySize > vocabulary) {
    throw new ModelError(
      `${folder.directory}: tokenizer: expected at most ${maxPositions} tokens of ${vocabulary} (text_encoder/config.json), got ${length} of ${tokenizer.vocabularySize}`,
    );
  }
  const { factor, native } = configs;
  const defaults = defaultsOf(folder, { width: native.width * factor, height: native.height * factor });
  const rule: SizeRule = { multiple: factor, minimum: factor, maximum: MAX_SIDE };
  checkStatedSize(folder, defaults, rule);
  const size = { width: defaults.width / factor, height: defaults.height / factor };
  const graphs = {
    text: textEncoderGraph(configs.text, length),
    denoiser: denoiserGraph(configs.unet, size, length),
    decoder: decoderGraph(configs.autoencoder, size),
  };
  const weights = await resolveNetworkWeights(folder, graphs);
  const programs = new DiffusionPrograms(device, { configs, weights, length, graphs, size });
  const text = new TextConditioner(tokenizer, programs.text);
  return new StableDiffusion({ folder, configs, defaults, size: rule, programs, text });
}

/** @throws ModelError when laurel.json asks for a size that the networks cannot draw */
function checkStatedSize(folder: ModelFolder, { width, height }: DiffusionDefaults, rule: SizeRule): void {
  const possible = (side: number): boolean => side % rule.multiple === 0 && side <= rule.maximum;
  if (possible(width) && possible(height)) return;
  throw new ModelError(
    `${join(folder.directory, "laurel.json")}: expected sides that are multiples of ${rule.multiple} up to ${rule.maximum}, got ${width} x ${height}`,
  );
}

/** What an open model is made of. */
interface Parts {
  readonly folder: ModelFolder;
  readonly configs: NetworkConfigs;
  readonly defaults: DiffusionDefaults;
  readonly size: SizeRule;
  readonly programs: DiffusionPrograms;
  readonly text: TextConditioner;
}

/**
 * A Stable Diffusion 1.x or 2.x on a device. `generate` is built from begin, step and decode; search inside a trajectory uses these itself, with
 * preview and fork.
 */
export class StableDiffusion {
  readonly name: string;
  /** The folder, absolute. */
  readonly directory: string;
  readonly defaults: DiffusionDefaults;
  readonly size: SizeRule;
  /** What was noticed on opening. */
  readonly warnings: readonly string[];
  readonly #parts: Parts;

  /** Use {@link openStableDiffusion}. */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.name = parts.folder.name;
    this.directory = parts.folder.directory;
    this.warnings = parts.folder.warnings;
    this.defaults = parts.defaults;
    this.size = parts.size;
  }

  /** Compiles what a request of the default size needs ahead of its first use. */
  async prepare(): Promise<void> {
    const { programs, configs } = this.#parts;
    const size = { width: this.defaults.width / configs.factor, height: this.defaults.height / configs.factor };
    const { denoiser, decoder } = programs.forSize(size);
    await Promise.all([programs.text.get(), denoiser.get(), decoder.get()]);
  }

  /** Completes and checks a request without starting it. @throws UsageError */
  resolve(request: DiffusionRequest): { readonly request: ResolvedRequest; readonly warnings: string[] } {
    return resolveDiffusionRequest(request, this.defaults, this.size);
  }

  /**
   * The start of `request.count` candidates, from seeds `seed`, `seed + 1`, ...
   * @throws UsageError for a request out of range, CancelledError when the signal aborts
   */
  async begin(
    request: DiffusionRequest,
    options: DiffusionOptions = {},
  ): Promise<{ trajectory: Trajectory; states: LatentState[] }> {
    const trajectory = await this.#plan(request, options);
    const { seed, count } = trajectory.request;
    return { trajectory, states: beginStates(trajectory, seed, count) };
  }

  /**
   * One step of each state, all in one run; states may be at different steps.
   * @throws UsageError for a state at its end, CancelledError when the signal aborts
   */
  async step(
    trajectory: Trajectory,
    states: readonly LatentState[],
    options: DiffusionOptions = {},
  ): Promise<LatentState[]> {
    throwIfAborted(options.signal);
    const { sampler, guided, latentShape, conditioning, request } = trajectory;
    const size = elementCount(latentShape);
    const passes = guided ? 2 : 1;
    const rows = states.length * passes;
    const sample = new Float32Array(rows * size);
    const timestep = new Float32Array(rows);
    const row = new BigInt64Array(rows);
    for (let pass = 0; pass < passes; pass++) {
      states.forEach((state, i) => {
        const t = sampler.timesteps[state.stepIndex];
        if (t === undefined)
          throw new UsageError(
            `step: expected a state before its end, got step ${state.stepIndex} of seed ${state.seed}`,
          );
        const at = pass * states.length + i;
        const scale = sampler.inputScales[state.stepIndex]!;
        for (let j = 0; j < size; j++) sample[at * size + j] = state.latents[j]! * scale;
        timestep[at] = t;
        row[at] = BigInt(pass);
      });
    }
    const program = await this.#parts.programs.forSize(latentSize(trajectory)).denoiser.get();
    const prediction = await run(program, options.signal, "prediction", {
      sample: float32([rows, ...latentShape], sample),
      timestep: float32([rows], timestep),
      row: { dtype: "int64", shape: [rows], data: row },
      conditioning,
    });
    return states.map((state, i) => {
      const rowOf = (index: number): Float32Array => prediction.subarray(index * size, (index + 1) * size);
      const output = guided ? guide(rowOf(i), rowOf(states.length + i), request.guidance) : rowOf(i);
      return nextState(state, sampler, output, passes);
    });
  }

  /** The pictures that the last step of each state predicted. @throws UsageError for a state before its first step */
  async preview(
    trajectory: Trajectory,
    states: readonly LatentState[],
    options: DiffusionOptions = {},
  ): Promise<RgbImage[]> {
    const latents = states.map(({ clean, seed }) => {
      if (clean === undefined)
        throw new UsageError(`preview: expected a state after its first step, got seed ${seed} before it`);
      return clean;
    });
    return this.#decode(trajectory, latents, options);
  }

  /** The same state with a random stream started anew from `seed`: under a stochastic sampler the two part from here on. */
  fork(state: LatentState, seed: number): LatentState {
    return forkState(state, seed);
  }

  /** The pictures of the states as they are. @throws CancelledError when the signal aborts */
  async decode(
    trajectory: Trajectory,
    states: readonly LatentState[],
    options: DiffusionOptions = {},
  ): Promise<RgbImage[]> {
    return this.#decode(
      trajectory,
      states.map((state) => state.latents),
      options,
    );
  }

  /**
   * Draws the candidates of a request in groups of `batch`. A picture is the same, bit for bit, in whatever group it is drawn.
   * @throws UsageError for a request out of range, CancelledError when the signal aborts, BackendError when the device died
   */
  async *generate(request: DiffusionRequest, options: DiffusionOptions = {}): AsyncGenerator<DiffusionGroup, void> {
    const trajectory = await this.#plan(request, options);
    const { seed, count, batch } = trajectory.request;
    const steps = trajectory.sampler.timesteps.length;
    for (let start = 0; start < count; start += batch) {
      let states = beginStates(trajectory, seed + start, Math.min(batch, count - start));
      for (let step = 1; step <= steps; step++) {
        states = await this.step(trajectory, states, options);
        options.onProgress?.({ step, steps, candidates: states.length });
      }
      const images = await this.decode(trajectory, states, options);
      yield {
        images: states.map((state, i) => ({ seed: state.seed, image: images[i]!, evaluations: state.evaluations })),
        warnings: trajectory.warnings,
      };
    }
  }

  /** Gives the compiled programs back. */
  dispose(): Promise<void> {
    return this.#parts.programs.dispose();
  }

  async #plan(open: DiffusionRequest, { signal }: DiffusionOptions): Promise<Trajectory> {
    throwIfAborted(signal);
    const { request, warnings } = this.resolve(open);
    const sampler = createSampler(request.sampler, this.#parts.folder.scheduler, request.steps, { eta: request.eta });
    const { factor, text, unet } = this.#parts.configs;
    const latentShape = [unet.inChannels, request.height / factor, request.width / factor] as const;
    const guided = isGuided(request);
    // compiled while the prompt is being encoded; a failure is reported where the program is used
    this.#parts.programs
      .forSize(sizeOf(latentShape))
      .denoiser.get()
      .catch(() => undefined);
    const texts = guided ? [request.negativePrompt, request.prompt] : [request.prompt];
    const encoded = await Promise.all(texts.map((prompt) => this.#parts.text.encode(prompt, signal)));
    const length = encoded[0]!.states.length / text.width;
    const states = new Float32Array(texts.length * length * text.width);
    encoded.forEach((one, i) => {
      states.set(one.states, i * length * text.width);
      warnings.push(...truncationWarnings(i === texts.length - 1 ? "prompt" : "negative prompt", one));
    });
    const conditioning = float32([texts.length, length, text.width], states);
    return { request, sampler, latentShape, guided, conditioning, warnings };
  }

  async #decode(
    trajectory: Trajectory,
    latents: readonly Float32Array[],
    { signal }: DiffusionOptions,
  ): Promise<RgbImage[]> {
    const { latentShape } = trajectory;
    const { width, height } = trajectory.request;
    const size = elementCount(latentShape);
    const { scalingFactor } = this.#parts.configs.autoencoder;
    const program = await this.#parts.programs.forSize(latentSize(trajectory)).decoder.get();
    const group = Math.max(1, Math.floor(DECODED_PIXELS / (width * height)));
    const images: RgbImage[] = [];
    for (let start = 0; start < latents.length; start += group) {
      throwIfAborted(signal);
      const part = latents.slice(start, start + group);
      const scaled = new Float32Array(part.length * size);
      part.forEach((one, i) => {
        for (let j = 0; j < size; j++) scaled[i * size + j] = one[j]! / scalingFactor;
      });
      const decoded = await run(program, signal, "image", { latents: float32([part.length, ...latentShape], scaled) });
      part.forEach((_, i) => images.push(toRgbImage(decoded, i, width, height)));
    }
    return images;
  }
}

function beginStates({ latentShape, sampler }: Trajectory, seed: number, count: number): LatentState[] {
  const size = elementCount(latentShape);
  return Array.from({ length: count }, (_, i) => beginState(seed + i, size, sampler));
}

function sizeOf(latentShape: Trajectory["latentShape"]): LatentSize {
  return { height: latentShape[1], width: latentShape[2] };
}

function latentSize(trajectory: Trajectory): LatentSize {
  return sizeOf(trajectory.latentShape);
}

async function run(
  program: Program,
  signal: AbortSignal | undefined,
  output: string,
  feeds: Record<string, Tensor>,
): Promise<Float32Array> {
  const outputs = await program.run(feeds, signal === undefined ? {} : { signal });
  return outputs[output]!.data as Float32Array;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CancelledError("generation was cancelled", { cause: signal.reason });
}
