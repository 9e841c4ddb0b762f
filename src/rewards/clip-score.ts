/** @file CLIP score: the cosine between the embeddings of prompt and image (Hessel et al., arXiv 2104.08718, without its factor 2.5). */

import { basename, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ClipConfig } from "../models/clip.js";
import { buildClipImageEmbedding, buildClipTextEmbedding, CLIP_IGNORED_KEYS, parseClipConfig } from "../models/clip.js";
import { rootScope } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import type { Tensor } from "../tensor/tensor.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import { unlessAborted } from "../util/abort.js";
import { parseJson, readText } from "../util/read-file.js";
import type { ModelIdentity } from "../weights/identity.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import { checkBatch, DEFAULT_BATCH, inBatches } from "./batched.js";
import { buildClipCosine, ClipNetwork } from "./clip-network.js";
import type {
  DifferentiableReward,
  RewardGradient,
  RewardNetwork,
  RewardOptions,
  RewardResult,
  TextFeeds,
} from "./contract.js";
import { PixelGradient, scoreGraph } from "./pixel-gradient.js";

const NAME = "clip-score";
/** The scale of the training's logits: the cosine does without. */
const LOGIT_SCALE = /^logit_scale$/;

/** How much is scored together. */
export interface ClipScoreOptions {
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
}

/**
 * Opens a `CLIPModel` folder of transformers: config.json, weights and the tokenizer's files.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openClipScore(
  directory: string,
  device: Device,
  options: ClipScoreOptions = {},
): Promise<ClipScore> {
  const { batch = DEFAULT_BATCH } = options;
  checkBatch(batch);
  const root = resolve(directory);
  const path = join(root, "config.json");
  const config = parseClipConfig(await readJson(path), path);
  const [source, tokenizer] = await Promise.all([openWeights(root), openClipTokenizer(root)]);
  const length = tokenizer.maxLength;
  const { maxPositions, vocabulary } = config.text;
  if (length > maxPositions || tokenizer.vocabularySize > vocabulary) {
    throw new ModelError(
      `${root}: tokenizer: expected at most ${maxPositions} tokens of ${vocabulary} (config.json), got ${length} of ${tokenizer.vocabularySize}`,
    );
  }
  const { imageSize } = config.vision;
  const build: ClipNetwork["build"] = (scope, pixels) => buildClipCosine(scope, config, length, pixels);
  const whole = scoreGraph(NAME, { imageSize, build }, "inference");
  const ignore = [...CLIP_IGNORED_KEYS, LOGIT_SCALE];
  const weights = resolveWeights(whole.parameters, source, { where: "CLIPModel", ignore });
  return new ClipScore(device, { network: new ClipNetwork(config, tokenizer, weights), batch, path: root });
}

interface Parts {
  readonly network: ClipNetwork;
  readonly batch: number;
  readonly path: string;
}

/** A CLIP dual encoder on a device, giving cosines. */
export class ClipScore implements DifferentiableReward {
  readonly name = NAME;
  readonly range = [-1, 1] as const;
  readonly imageSize: number;
  readonly model: ModelIdentity;
  readonly network: RewardNetwork;
  /** Its architecture. */
  readonly config: ClipConfig;
  readonly #parts: Parts;
  readonly #text: LazyProgram;
  readonly #image: LazyProgram;
  readonly #gradient: PixelGradient;
  #latest: { readonly prompt: string; readonly embedding: Promise<Float32Array> } | undefined;

  /** Use {@link openClipScore}. @internal */
  constructor(device: Device, parts: Parts) {
    const { network, path } = parts;
    const { config, weights, imageSize, tokenizer } = network;
    this.#parts = parts;
    this.network = network;
    this.config = config;
    this.imageSize = imageSize;
    this.model = { name: basename(path), path };
    const scope = () => rootScope({ mode: "inference" });
    const ids = input("ids", "int64", ["N", tokenizer.maxLength]);
    const text = graph("clip-text", { embedding: buildClipTextEmbedding(scope(), config, ids) });
    const pixels = input("pixels", "float32", ["N", 3, imageSize, imageSize]);
    const image = graph("clip-image", { embedding: buildClipImageEmbedding(scope(), config, pixels) });
    this.#text = new LazyProgram(device, () => text, { weights, label: "clip text encoder" });
    this.#image = new LazyProgram(device, () => image, { weights, label: "clip image encoder" });
    this.#gradient = new PixelGradient(device, NAME, network);
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    const { network } = this.#parts;
    const { feeds, warnings } = network.textFeeds("", [prompt]);
    if (images.length === 0) return { scores: [], warnings };
    // others may wait for the same prompt: aborting stops the waiting, not the run
    const text = await unlessAborted(this.#embedText(prompt, feeds), signal);
    const embeddings = await this.embedImages(images, signal === undefined ? {} : { signal });
    const scores = embeddings.map((embedding) => cosine(text, embedding));
    return { scores, warnings };
  }

  /** The images' projected embeddings, of any length; the cosine of two tells how alike the images are. @throws as `score` */
  async embedImages(
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<Float32Array[]> {
    const { batch } = this.#parts;
    const program = await this.#image.get();
    return inBatches(images, { network: this.network, batch, signal }, async (pixels) => {
      const outputs = await program.run({ pixels }, signal === undefined ? {} : { signal });
      const rows = outputs["embedding"]!.data as Float32Array;
      const width = rows.length / pixels.shape[0]!;
      return Array.from({ length: pixels.shape[0]! }, (_, i) => rows.subarray(i * width, (i + 1) * width));
    });
  }

  gradient(prompt: string, pixels: Tensor<"float32">, options: RewardOptions = {}): Promise<RewardGradient> {
    return this.#gradient.run(prompt, pixels, options);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#text.dispose(), this.#image.dispose(), this.#gradient.dispose()]);
  }

  /** The prompt's embedding; that of the latest prompt is kept. */
  #embedText(prompt: string, feeds: TextFeeds["feeds"]): Promise<Float32Array> {
    if (this.#latest?.prompt === prompt) return this.#latest.embedding;
    const embedding = (async () => {
      const program = await this.#text.get();
      const outputs = await program.run(feeds);
      return outputs["embedding"]!.data as Float32Array;
    })();
    this.#latest = { prompt, embedding };
    embedding.catch(() => {
      if (this.#latest?.embedding === embedding) this.#latest = undefined;
    });
    return embedding;
  }
}

/** The cosine of the angle between two vectors, in double precision. */
function cosine(a: Float32Array, b: Float32Array): number {
  let [dot, squareA, squareB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    squareA += a[i]! ** 2;
    squareB += b[i]! ** 2;
  }
  return dot / Math.sqrt(squareA * squareB);
}

async function readJson(path: string): Promise<unknown> {
  return parseJson(await readText(path, { expected: "a CLIP model's configuration" }), path);
}
