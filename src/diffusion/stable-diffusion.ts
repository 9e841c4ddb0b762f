/** @file Stable Diffusion from a diffusers folder: prompt and seed to latents, step by step, to images. */

import { UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import { matrixOperations } from "../graph/operations.js";
import type { Device } from "../runtime/device.js";
import type { StepCotangents } from "../samplers/pull-back.js";
import { elementCount } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import { type ComputeType, computeWarnings } from "./compute-type.js";
import { decodeInTiles, decodeLatents } from "./decode.js";
import { beginInitState, keepUnmaskedClean } from "./init-state.js";
import { beginState, forkState, type LatentState } from "./latents.js";
import { networkLoras } from "./lora.js";
import type { ModelFolderOptions } from "./model-folder.js";
import { decoderGraph, denoiserGradientGraph, denoiserGraph, encoderGraph } from "./networks.js";
import { type ModelParts, openModelParts } from "./open-model.js";
import { layOutPrompts, planTrajectory } from "./plan.js";
import type { DiffusionDefaults, DiffusionRequest, ResolvedRequest, SettingLimits, SizeRule } from "./request.js";
import { resolveDiffusionRequest } from "./request.js";
import { pullBackSteps, type TakenStep } from "./pull-back.js";
import { type PictureJudge, type ScoreGradient, scoreGradientGraph, scoreGradients } from "./score-gradient.js";
import { stepStates } from "./step.js";
import { isCut, planTiles, type TilePlan } from "./tiles.js";
import {
  conditioningLength,
  type DiffusionGroup,
  type DiffusionOptions,
  latentSize,
  type Trajectory,
} from "./trajectory.js";

export type { TakenStep } from "./pull-back.js";
export type { PictureJudge, ScoreGradient } from "./score-gradient.js";
export type * from "./trajectory.js";

/**
 * Opens a diffusers folder (`model_index.json`) or a single-file checkpoint. Configurations and the weights' names and shapes are checked now;
 * programs are compiled when first used.
 * @throws ModelError when it is incomplete, damaged or of another kind
 */
export async function openStableDiffusion(
  directory: string,
  device: Device,
  options: DiffusionModelOptions = {},
): Promise<StableDiffusion> {
  const { vaeTile = device.lowMemory ? LOW_MEMORY_TILE : undefined } = options;
  const parts = await openModelParts(directory, device, options);
  // fails now for a tile that is too small
  planTiles(parts.configs.native, vaeTile, parts.configs.factor);
  const warnings = [...computeWarnings(options.dtype ?? "auto"), ...parts.warnings];
  return new StableDiffusion({ ...parts, warnings }, vaeTile);
}

/**
 * Side of a tile, in pixels, on a device with little memory. A picture of 512x512 is decoded in four, which takes 45 % of the memory; tiles of 256
 * take 30 %, and change the picture three times as much (`npm run bench -- low-memory`).
 */
const LOW_MEMORY_TILE = 384;

/** Which of its weights a model takes and how it computes, beside what a request asks. */
export interface DiffusionModelOptions extends ModelFolderOptions {
  /** What networks are computed in. Only float32 is: another is a warning. @default "auto" */
  readonly dtype?: ComputeType | undefined;
  /**
   * Side of the tiles that pictures are decoded in, in pixels; a picture that is not larger is decoded whole. Tiles take less memory, and give
   * pictures that differ slightly. @default none; 384 on a device with `lowMemory`
   */
  readonly vaeTile?: number | undefined;
}

/** Floating-point operations, for one picture. */
export interface DrawingOperations {
  /** Of one evaluation of the denoiser. */
  readonly evaluation: number;
  readonly decoding: number;
  readonly encoding: number;
}

/**
 * A Stable Diffusion 1.x, 2.x or XL on a device. `generate` is built from begin, step and decode; search inside a trajectory uses these itself, with
 * preview and fork.
 */
export class StableDiffusion {
  readonly name: string;
  /** Folder or file, absolute. */
  readonly directory: string;
  readonly defaults: DiffusionDefaults;
  /** What can be asked of it. */
  readonly limits: SettingLimits & { readonly size: SizeRule };
  /** What was noticed on opening. */
  readonly warnings: readonly string[];
  readonly #parts: ModelParts;
  readonly #tile: number | undefined;
  /** What was counted, by size and length of the prompts: building the graphs takes a while. */
  readonly #operations = new Map<string, DrawingOperations>();
  /** What was counted last. */
  #gradientOperations:
    | {
        readonly key: string;
        readonly judge: PictureJudge["weights"];
        readonly operations: { readonly evaluationGradient: number; readonly scoringGradient: number };
      }
    | undefined;

  /** Use {@link openStableDiffusion}. @internal */
  constructor(parts: ModelParts, tile?: number) {
    this.#parts = parts;
    this.#tile = tile;
    this.name = parts.folder.name;
    this.directory = parts.folder.directory;
    this.warnings = parts.warnings;
    this.defaults = parts.defaults;
    this.limits = parts.limits;
  }

  /** Compiles what a request of the default size needs ahead of its first use. */
  async prepare(): Promise<void> {
    await this.#parts.programs.prepare();
  }

  /** Completes and checks a request without starting it. @throws UsageError */
  resolve(request: DiffusionRequest): { readonly request: ResolvedRequest; readonly warnings: string[] } {
    return resolveDiffusionRequest(request, this.defaults, this.limits);
  }

  /** Checks what only files can tell: LoRAs, embeddings, and the prompts that name them. @throws UsageError, ModelError */
  async check(request: DiffusionRequest): Promise<void> {
    const resolved = this.resolve(request).request;
    await this.#parts.loras.open(resolved.loras);
    await layOutPrompts(this.#parts, resolved);
  }

  /**
   * The start of `request.count` candidates, from seeds `seed`, `seed + 1`, ...
   * @throws UsageError for a request out of range, CancelledError when the signal aborts
   */
  async begin(
    request: DiffusionRequest,
    options: DiffusionOptions = {},
  ): Promise<{ trajectory: Trajectory; states: LatentState[] }> {
    const trajectory = await planTrajectory(this.#parts, request, options);
    const { seed, count } = trajectory.request;
    return { trajectory, states: this.start(trajectory, seed, count) };
  }

  /** The start of more candidates of a trajectory, from seeds `seed`, `seed + 1`, ... */
  start({ latentShape, sampler, init }: Trajectory, seed: number, count: number): LatentState[] {
    const size = elementCount(latentShape);
    const { autoencoder } = this.#parts.configs;
    return Array.from({ length: count }, (_, i) =>
      init === undefined
        ? beginState(seed + i, size, sampler)
        : beginInitState(seed + i, size, sampler, init, autoencoder),
    );
  }

  /** Floating-point operations of one evaluation of the denoiser, of decoding, and of encoding a picture to start from, for one picture of a trajectory. */
  operations(trajectory: Trajectory): DrawingOperations {
    const { unet, autoencoder } = this.#parts.configs;
    const { width, height } = trajectory.request;
    const key = `${width}x${height} ${conditioningLength(trajectory)}`;
    const known = this.#operations.get(key);
    if (known !== undefined) return known;
    const denoiser = denoiserGraph(unet, latentSize(trajectory), conditioningLength(trajectory));
    const decoder = decoderGraph(autoencoder, latentSize(trajectory));
    const operations = {
      evaluation: matrixOperations(denoiser, { N: 1, P: 1 }),
      decoding: matrixOperations(decoder, { N: 1 }),
      encoding: matrixOperations(encoderGraph(autoencoder, width, height), { N: 1 }),
    };
    this.#operations.set(key, operations);
    return operations;
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
    const { programs } = this.#parts;
    const loras = networkLoras(trajectory.loras.unet);
    const denoiser = await programs.denoiser(latentSize(trajectory), conditioningLength(trajectory), loras).get();
    return stepStates(denoiser, trajectory, states, options.signal);
  }

  /**
   * Floating-point operations of the gradient through one evaluation of the denoiser, the evaluation itself included, and of a score of one picture's latents with
   * its gradient.
   */
  gradientOperations(
    trajectory: Trajectory,
    judge: PictureJudge,
  ): { readonly evaluationGradient: number; readonly scoringGradient: number } {
    const { unet, autoencoder, factor } = this.#parts.configs;
    const size = latentSize(trajectory);
    const length = conditioningLength(trajectory);
    const known = this.#gradientOperations;
    const key = `${size.width}x${size.height} ${length}`;
    if (known?.key === key && known.judge === judge.weights) return known.operations;
    const operations = {
      evaluationGradient: matrixOperations(denoiserGradientGraph(unet, size, length), { N: 1, P: 1 }),
      scoringGradient: matrixOperations(scoreGradientGraph(autoencoder, size, factor, judge), {}),
    };
    this.#gradientOperations = { key, judge: judge.weights, operations };
    return operations;
  }

  /**
   * Scores of the pictures of the states as they are, and how each changes with its latents. A picture is decoded whole, whatever its tiles, and not rounded to
   * bytes, so its score differs slightly from that of `decode`.
   * @throws UsageError when the model or the judge has no gradients, CancelledError when the signal aborts
   */
  async scoreGradient(
    trajectory: Trajectory,
    states: readonly LatentState[],
    judge: PictureJudge,
    { signal }: DiffusionOptions = {},
  ): Promise<ScoreGradient[]> {
    const program = await this.#parts.programs.scoreGradient(latentSize(trajectory), judge).get();
    const latents = states.map((state) => state.latents);
    return scoreGradients(program, trajectory, latents, judge, signal);
  }

  /**
   * How numbers change with states before a step, from how they change with those after it. A step at a time: a way back through any number of them takes the
   * memory of one. Noise that was drawn on the way counts as given.
   * @param cotangents of the latents and the registers after each step, no registers at the end
   * @param through false takes the denoiser's output as given: only the sampler's own coefficients pass something on, at no cost
   * @throws UsageError when the model has no gradients, CancelledError when the signal aborts
   */
  async pullBack(
    trajectory: Trajectory,
    steps: readonly TakenStep[],
    cotangents: readonly StepCotangents[],
    { signal, through = true }: DiffusionOptions & { readonly through?: boolean | undefined } = {},
  ): Promise<StepCotangents[]> {
    throwIfAborted(signal);
    const { programs } = this.#parts;
    const loras = networkLoras(trajectory.loras.unet);
    const size = latentSize(trajectory);
    const denoiser = through
      ? await programs.denoiserGradient(size, conditioningLength(trajectory), loras).get()
      : undefined;
    return pullBackSteps(denoiser, trajectory, steps, cotangents, signal);
  }

  /** The pictures that the last step of each state predicted. @throws UsageError for a state before its first step */
  async preview(
    trajectory: Trajectory,
    states: readonly LatentState[],
    options: DiffusionOptions = {},
  ): Promise<RgbImage[]> {
    const latents = states.map((state) => {
      if (state.clean === undefined)
        throw new UsageError(`preview: expected a state after its first step, got seed ${state.seed} before it`);
      return keepUnmaskedClean(state.clean, state, trajectory.init);
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
    const trajectory = await planTrajectory(this.#parts, request, options);
    const { seed, count, batch } = trajectory.request;
    const steps = trajectory.sampler.timesteps.length;
    for (let start = 0; start < count; start += batch) {
      let states = this.start(trajectory, seed + start, Math.min(batch, count - start));
      for (let step = 1; step <= steps; step++) {
        states = await this.step(trajectory, states, options);
        options.onProgress?.({ step, steps, candidates: states.length });
      }
      const images = await this.decode(trajectory, states, options);
      yield {
        images: states.map((state, i) => ({ seed: state.seed, image: images[i]!, evaluations: state.evaluations })),
        warnings: [...trajectory.warnings, ...this.#tileWarnings(trajectory)],
      };
    }
  }

  /** Gives the compiled programs back. */
  dispose(): Promise<void> {
    return this.#parts.programs.dispose();
  }

  async #decode(
    trajectory: Trajectory,
    latents: readonly Float32Array[],
    { signal }: DiffusionOptions,
  ): Promise<RgbImage[]> {
    const { programs, configs } = this.#parts;
    const tiles = this.#tiles(trajectory);
    const decoder = await programs.decoder(tiles.size).get();
    if (isCut(tiles)) return decodeInTiles(decoder, trajectory, latents, { ...configs, tiles, signal });
    return decodeLatents(decoder, trajectory, latents, configs.autoencoder, signal);
  }

  #tiles(trajectory: Trajectory): TilePlan {
    return planTiles(latentSize(trajectory), this.#tile, this.#parts.configs.factor);
  }

  #tileWarnings(trajectory: Trajectory): string[] {
    if (!isCut(this.#tiles(trajectory))) return [];
    return [`pictures are decoded in tiles of ${this.#tile} pixels, and differ slightly from those decoded whole`];
  }
}
