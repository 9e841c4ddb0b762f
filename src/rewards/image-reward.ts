/** @file ImageReward: human preference for an image given its prompt (Xu et al., arXiv 2304.05977). */

import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import type { Graph } from "../graph/types.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ImageRewardConfig } from "../models/image-reward.js";
import { IMAGE_REWARD_IGNORED_KEYS, imageRewardConfig } from "../models/image-reward.js";
import type { NetworkMode } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { Tensor } from "../tensor/tensor.js";
import { openBertTokenizer } from "../tokenizers/bert.js";
import type { ModelIdentity } from "../weights/identity.js";
import { describeSystemError, parseJson, readText, readTextIfThere } from "../util/read-file.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightEntry, WeightSource } from "../weights/types.js";
import { checkBatch, DEFAULT_BATCH, inBatches } from "./batched.js";
import type {
  DifferentiableReward,
  RewardGradient,
  RewardNetwork,
  RewardOptions,
  RewardResult,
  ScoreReference,
} from "./contract.js";
import { buildImageRewardFrom, ImageRewardNetwork } from "./image-reward-network.js";
import { int8Weights } from "./int8-weights.js";
import { PixelGradient, scoreGraph } from "./pixel-gradient.js";

const NAME = "image-reward";
/** Files tried in a folder before any other weight file. */
const FILE_NAMES = ["ImageReward.safetensors", "ImageReward.pt"];

/** The checkpoint standardises itself. */
const REFERENCE: ScoreReference = {
  mean: 0,
  std: 1,
  source: "its own standardisation: scores are (head - mean) / std of the pictures it was trained with",
};

/** Where the parts lie, if not beside the weights, and how much is scored together. */
export interface ImageRewardOptions {
  /** `med_config.json`. @default beside the weights */
  readonly med?: string | undefined;
  /** A folder with the tokenizer, or its `vocab.txt`. @default the folder of the weights */
  readonly tokenizer?: string | undefined;
  /** Images scored together. @default 8, and 1 in int8 */
  readonly batch?: number | undefined;
  /**
   * "int8": the products of both encoders in 8-bit whole numbers, about twice as fast on processors that multiply them and in less than half the memory, for scores that are slightly
   * different: {@link int8Agreement} tells how much on one's own images. Only for scoring: there is no gradient. Images are scored one at a time, so that a score
   * depends on no other image. @default "float32"
   */
  readonly dtype?: ScoringDType | undefined;
}

/** What the products of a reward's network are computed in. */
export type ScoringDType = "float32" | "int8";

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
  const { dtype = "float32" } = options;
  const { batch = dtype === "int8" ? 1 : DEFAULT_BATCH } = options;
  checkBatch(batch);
  checkDType(dtype, batch);
  const { file, directory } = await locate(path);
  const source = await openWeights(file);
  const [med, own] = await Promise.all([
    readJson(options.med ?? join(directory, "med_config.json"), true),
    readJson(join(directory, "config.json"), false),
  ]);
  const shapes = new Map([...source.entries].map(([key, entry]) => [key, entry.shape]));
  const config = imageRewardConfig(shapes, med, own, file);
  const { imageSize } = config.vision;
  const build: ImageRewardNetwork["build"] = (scope, pixels) => buildImageRewardFrom(scope, config, pixels);
  const scorer = scoreGraph(NAME, { imageSize, build }, "inference");
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
  const network = new ImageRewardNetwork(config, tokenizer, weights);
  const scoring = dtype === "int8" ? await inInt8(network, source) : { scorer, scorerWeights: weights };
  return new ImageReward(device, { network, ...scoring, batch, dtype, path: resolve(path) });
}

/** The scoring network with rounded weights. */
async function inInt8(
  network: ImageRewardNetwork,
  source: WeightSource,
): Promise<Pick<Parts, "scorer" | "scorerWeights">> {
  const scorer = scoreGraph(NAME, network, "inference", inEncoders);
  return { scorer, scorerWeights: await int8Weights(scorer.parameters, network.weights, source) };
}

/** The layers that int8 takes: those of the encoders. The head is a thousandth of the work, and adds its error to the score as it is. */
function inEncoders(module: string): boolean {
  return module.startsWith("blip.");
}

function checkDType(dtype: string, batch: number): void {
  if (dtype !== "float32" && dtype !== "int8")
    throw new UsageError(`dtype: expected float32 or int8, got ${JSON.stringify(dtype)}`);
  if (dtype === "int8" && batch !== 1)
    throw new UsageError(`batch: expected 1 in int8, where a score would depend on the images beside it, got ${batch}`);
}

/** What an open ImageReward is made of. */
interface Parts {
  readonly network: ImageRewardNetwork;
  /** In inference mode. */
  readonly scorer: Graph;
  readonly scorerWeights: ReadonlyMap<string, WeightEntry>;
  readonly batch: number;
  readonly dtype: ScoringDType;
  readonly path: string;
}

/** ImageReward on a device. Scores are roughly standard normal for natural prompts and images. */
export class ImageReward implements DifferentiableReward {
  readonly name = NAME;
  readonly range = [-2.5, 2.5] as const;
  readonly reference = REFERENCE;
  readonly imageSize: number;
  readonly model: ModelIdentity;
  /** Its architecture. */
  readonly config: ImageRewardConfig;
  /** Where its weights lie, by parameter name. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
  /** What its scores are computed in. */
  readonly dtype: ScoringDType;
  readonly #parts: Parts;
  /** Private to TypeScript alone, so that an object made with this one as its prototype has it too. */
  private readonly floatNetwork: RewardNetwork;
  readonly #scorer: LazyProgram;
  readonly #device: Device;
  #gradient: PixelGradient | undefined;

  /** Use {@link openImageReward}. @internal */
  constructor(device: Device, parts: Parts) {
    const { network } = parts;
    this.#parts = parts;
    this.floatNetwork = network;
    this.dtype = parts.dtype;
    this.config = network.config;
    this.imageSize = network.imageSize;
    this.model = { name: basename(parts.path), path: parts.path };
    this.weights = network.weights;
    this.#scorer = new LazyProgram(device, () => parts.scorer, { weights: parts.scorerWeights, label: NAME });
    this.#device = device;
  }

  /** @throws UsageError in int8, which has no gradient */
  get network(): RewardNetwork {
    if (this.dtype === "int8")
      throw new UsageError(`${NAME}: expected dtype float32 for gradients and graphs, got int8, which only scores`);
    return this.floatNetwork;
  }

  /**
   * `pixels` float32 [N, 3, S, S], `ids` and `mask` int64 [N, L] -> `score` [N]. In "training" mode only differentiable ops are used.
   * Its parameters are `weights`.
   */
  graph(mode: NetworkMode): Graph {
    return mode === "inference" ? this.#parts.scorer : scoreGraph(NAME, this.network, mode);
  }

  /** The prompt's tokens as the network reads them, int64 [count, L] each, the same in every row. */
  tokens(prompt: string, count: number): { ids: Tensor<"int64">; mask: Tensor<"int64">; warnings: string[] } {
    const { feeds, warnings } = this.#parts.network.textFeeds(
      "",
      Array.from({ length: count }, () => prompt),
    );
    return { ids: feeds["ids"] as Tensor<"int64">, mask: feeds["mask"] as Tensor<"int64">, warnings };
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    const { warnings } = this.#parts.network.textFeeds("", [prompt]);
    if (images.length === 0) return { scores: [], warnings };
    const program = await this.#scorer.get();
    const scores = await inBatches(
      images,
      { network: this.#parts.network, batch: this.#parts.batch, signal },
      async (pixels) => {
        const rows = Array.from({ length: pixels.shape[0]! }, () => prompt);
        const { feeds } = this.#parts.network.textFeeds("", rows);
        const outputs = await program.run({ ...feeds, pixels }, signal === undefined ? {} : { signal });
        return Array.from(outputs["score"]!.data as Float32Array);
      },
    );
    return { scores, warnings };
  }

  /** As {@link DifferentiableReward.gradient}. @throws UsageError in int8 */
  async gradient(prompt: string, pixels: Tensor<"float32">, options: RewardOptions = {}): Promise<RewardGradient> {
    this.#gradient ??= new PixelGradient(this.#device, NAME, this.network);
    return this.#gradient.run(prompt, pixels, options);
  }

  /** Compiles what `score` needs ahead of its first use. */
  async prepare(): Promise<void> {
    await this.#scorer.get();
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#scorer.dispose(), this.#gradient?.dispose()]);
  }
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
