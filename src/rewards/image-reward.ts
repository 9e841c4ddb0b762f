/** @file ImageReward: human preference for an image given its prompt (Xu et al., arXiv 2304.05977). */

import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { gradient } from "../autodiff/gradient.js";
import { ModelError, UsageError } from "../errors.js";
import { graph, input, reduceSum } from "../graph/builder.js";
import type { Graph } from "../graph/types.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ImageRewardConfig } from "../models/image-reward.js";
import { buildImageReward, IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "../models/image-reward.js";
import { rootScope, type NetworkMode } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import { float32, type Tensor } from "../tensor/tensor.js";
import { openBertTokenizer } from "../tokenizers/bert.js";
import type { BertTokenizer } from "../tokenizers/types.js";
import type { ModelIdentity } from "../weights/identity.js";
import { describeSystemError, parseJson, readText, readTextIfThere } from "../util/read-file.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightEntry } from "../weights/types.js";
import { checkBatch, DEFAULT_BATCH, inBatches, repeatRow, truncationWarnings } from "./batched.js";
import type { DifferentiableReward, RewardGradient, RewardOptions, RewardResult } from "./contract.js";

/** Files tried in a folder before any other weight file. */
const FILE_NAMES = ["ImageReward.safetensors", "ImageReward.pt"];

/** Where the parts lie, if not beside the weights, and how much is scored together. */
export interface ImageRewardOptions {
  /** `med_config.json`. @default beside the weights */
  readonly med?: string | undefined;
  /** A folder with the tokenizer, or its `vocab.txt`. @default the folder of the weights */
  readonly tokenizer?: string | undefined;
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
}

/**
 * Opens ImageReward from a folder or a weight file (`ImageReward.pt`, `.safetensors`), with `med_config.json`, an optional `config.json` and the
 * tokenizer's `vocab.txt` beside it or where `options` say.
 * @throws ModelError when a part is missing or the weights are of another network
 */
export async function openImageReward(
  path: string,
  device: Device,
  options: ImageRewardOptions = {},
): Promise<ImageReward> {
  const { batch = DEFAULT_BATCH } = options;
  checkBatch(batch);
  const { file, directory } = await locate(path);
  const source = await openWeights(file);
  const [med, own] = await Promise.all([
    readJson(options.med ?? join(directory, "med_config.json"), true),
    readJson(join(directory, "config.json"), false),
  ]);
  const shapes = new Map([...source.entries].map(([key, entry]) => [key, entry.shape]));
  const config = imageRewardConfig(shapes, med, own, file);
  const scorer = scoreGraph(config, "inference");
  const weights = resolveWeights(scorer.parameters, source, {
    where: "ImageReward",
    ignore: IMAGE_REWARD_IGNORED_KEYS,
  });
  const tokenizer = await openBertTokenizer(options.tokenizer ?? directory, { maxLength: config.maxTextLength });
  // the two tokens that BLIP adds may be missing from a small vocabulary: no prompt needs them
  if (tokenizer.vocabularySize - 2 > config.text.vocabulary) {
    throw new ModelError(
      `${options.tokenizer ?? directory}: expected a vocabulary of ${config.text.vocabulary} tokens as in ${file}, got ${tokenizer.vocabularySize}`,
    );
  }
  return new ImageReward(device, { config, scorer, weights, tokenizer, batch, path: resolve(path) });
}

/** What an open ImageReward is made of. */
interface Parts {
  readonly config: ImageRewardConfig;
  /** In inference mode. */
  readonly scorer: Graph;
  readonly weights: ReadonlyMap<string, WeightEntry>;
  readonly tokenizer: BertTokenizer;
  readonly batch: number;
  readonly path: string;
}

/** ImageReward on a device. Scores are roughly standard normal for natural prompts and images. */
export class ImageReward implements DifferentiableReward {
  readonly name = "image-reward";
  readonly range = [-2.5, 2.5] as const;
  readonly imageSize: number;
  readonly model: ModelIdentity;
  /** Its architecture. */
  readonly config: ImageRewardConfig;
  /** Where its weights lie, by parameter name. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
  readonly #parts: Parts;
  readonly #scorer: LazyProgram;
  readonly #differentiator: LazyProgram;

  /** Use {@link openImageReward}. @internal */
  constructor(device: Device, parts: Parts) {
    this.#parts = parts;
    this.config = parts.config;
    this.imageSize = parts.config.vision.imageSize;
    this.model = { name: basename(parts.path), path: parts.path };
    this.weights = parts.weights;
    const { weights } = parts;
    this.#scorer = new LazyProgram(device, () => parts.scorer, { weights, label: this.name });
    this.#differentiator = new LazyProgram(device, () => gradientGraph(parts.config), {
      weights,
      label: `${this.name} gradient`,
    });
  }

  /**
   * `pixels` float32 [N, 3, S, S], `ids` and `mask` int64 [N, L] -> `score` [N]. In "training" mode only differentiable ops are used.
   * Its parameters are `weights`.
   */
  graph(mode: NetworkMode): Graph {
    return mode === "inference" ? this.#parts.scorer : scoreGraph(this.#parts.config, mode);
  }

  /** The prompt's tokens as the network reads them, int64 [count, L] each, the same in every row. */
  tokens(prompt: string, count: number): { ids: Tensor<"int64">; mask: Tensor<"int64">; warnings: string[] } {
    if (typeof prompt !== "string") throw new UsageError(`prompt: expected text, got ${typeof prompt}`);
    const { ids, mask, truncated } = this.#parts.tokenizer.encode(prompt);
    const { vocabulary } = this.#parts.config.text;
    const unknown = ids.find((id) => id >= vocabulary);
    if (unknown !== undefined) {
      throw new UsageError(`prompt: expected tokens below ${vocabulary} (the network's vocabulary), got ${unknown}`);
    }
    const warnings = truncationWarnings(this.name, this.#parts.config.maxTextLength, truncated);
    return { ids: repeatRow(ids, count), mask: repeatRow(mask, count), warnings };
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    const { warnings } = this.tokens(prompt, 0);
    if (images.length === 0) return { scores: [], warnings };
    const program = await this.#scorer.get();
    const scores = await inBatches(
      images,
      { size: this.imageSize, batch: this.#parts.batch, signal },
      async (pixels) => {
        const { ids, mask } = this.tokens(prompt, pixels.shape[0]!);
        const outputs = await program.run({ pixels, ids, mask }, signal === undefined ? {} : { signal });
        return Array.from(outputs["score"]!.data as Float32Array);
      },
    );
    return { scores, warnings };
  }

  async gradient(prompt: string, pixels: Tensor<"float32">, { signal }: RewardOptions = {}): Promise<RewardGradient> {
    const [count, ...rest] = pixels.shape;
    const expected = [3, this.imageSize, this.imageSize];
    if (count === undefined || count < 1 || rest.join() !== expected.join()) {
      throw new UsageError(`pixels: expected [N,${expected.join(",")}], got [${pixels.shape.join(",")}]`);
    }
    const program = await this.#differentiator.get();
    const { ids, mask, warnings } = this.tokens(prompt, 1);
    const plane = pixels.data.length / count;
    const scores: number[] = [];
    const slopes = new Float32Array(pixels.data.length);
    // one at a time: primitive products of several rows round differently, and the inner tensors of a backward pass are large
    for (let i = 0; i < count; i++) {
      const own = float32([1, ...expected], pixels.data.slice(i * plane, (i + 1) * plane));
      const outputs = await program.run({ pixels: own, ids, mask }, signal === undefined ? {} : { signal });
      scores.push((outputs["score"]!.data as Float32Array)[0]!);
      slopes.set(outputs["gradient"]!.data as Float32Array, i * plane);
    }
    return { scores, gradient: float32(pixels.shape, slopes), warnings };
  }

  /** Compiles what `score` needs ahead of its first use. */
  async prepare(): Promise<void> {
    await this.#scorer.get();
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#scorer.dispose(), this.#differentiator.dispose()]);
  }
}

/** `score` and the gradient of each with respect to its own pixels. */
function gradientGraph(config: ImageRewardConfig): Graph {
  const forward = scoreGraph(config, "training");
  const score = forward.outputs.get("score")!;
  // rows do not mix, so the gradient of the sum holds each score's own
  const [pixels] = gradient(reduceSum(score, [0], { keepDims: false }), [forward.inputs.get("pixels")!]);
  return graph("image-reward-gradient", { score, gradient: pixels! });
}

function scoreGraph(config: ImageRewardConfig, mode: NetworkMode): Graph {
  const { imageSize } = config.vision;
  const pixels = input("pixels", "float32", ["N", 3, imageSize, imageSize]);
  const ids = input("ids", "int64", ["N", config.maxTextLength]);
  const mask = input("mask", "int64", ["N", config.maxTextLength]);
  return graph("image-reward", { score: buildImageReward(rootScope({ mode }), config, { pixels, ids, mask }) });
}

/** The weight file and the folder its companions are looked for in. */
async function locate(path: string): Promise<{ file: string; directory: string }> {
  const absolute = resolve(path);
  const isFolder = await stat(absolute).then(
    (entry) => entry.isDirectory(),
    (cause: unknown) => {
      const actual = describeSystemError(cause);
      throw new ModelError(`${absolute}: expected an ImageReward file or folder, got ${actual}`, { cause });
    },
  );
  if (!isFolder) return { file: absolute, directory: dirname(absolute) };
  for (const name of FILE_NAMES) {
    const file = join(absolute, name);
    if (
      await stat(file).then(
        () => true,
        () => false,
      )
    )
      return { file, directory: absolute };
  }
  return { file: absolute, directory: absolute };
}

async function readJson(path: string, required: boolean): Promise<unknown> {
  const expected = "the text encoder's configuration";
  const text = required ? await readText(path, { expected }) : await readTextIfThere(path, { expected });
  return text === undefined ? undefined : parseJson(text, path);
}
