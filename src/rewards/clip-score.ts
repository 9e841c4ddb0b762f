/** @file CLIP score: the cosine between the embeddings of prompt and image (Hessel et al., arXiv 2104.08718, without its factor 2.5). */

import { basename, join, resolve } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
import type { Graph } from "../graph/types.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { ClipConfig } from "../models/clip.js";
import {
  buildClipImageEmbedding,
  buildClipTextEmbedding,
  CLIP_IGNORED_KEYS,
  CLIP_KEYS_BEYOND_IMAGE,
  CLIP_KEYS_BEYOND_TEXT,
  parseClipConfig,
} from "../models/clip.js";
import { rootScope } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import { int64 } from "../tensor/tensor.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
import { unlessAborted } from "../util/abort.js";
import { parseJson, readText } from "../util/read-file.js";
import type { ModelIdentity } from "../weights/identity.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightSource } from "../weights/types.js";
import { checkBatch, DEFAULT_BATCH, inBatches, truncationWarnings } from "./batched.js";
import type { Reward, RewardOptions, RewardResult } from "./contract.js";

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
  return new ClipScore({ device, config, source, tokenizer, batch, length, path: root });
}

interface Parts {
  readonly device: Device;
  readonly config: ClipConfig;
  readonly source: WeightSource;
  readonly tokenizer: ClipTokenizer;
  readonly batch: number;
  readonly length: number;
  readonly path: string;
}

/** A CLIP dual encoder on a device, giving cosines. */
export class ClipScore implements Reward {
  readonly name = "clip-score";
  readonly range = [-1, 1] as const;
  readonly model: ModelIdentity;
  /** Its architecture. */
  readonly config: ClipConfig;
  readonly #parts: Parts;
  readonly #text: LazyProgram;
  readonly #image: LazyProgram;
  #latest: { readonly prompt: string; readonly embedding: Promise<Float32Array> } | undefined;

  /** Use {@link openClipScore}. @throws ModelError listing every tensor that does not fit @internal */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.config = parts.config;
    this.model = { name: basename(parts.path), path: parts.path };
    const { device, config, source, length } = parts;
    const where = "CLIPModel";
    const scope = () => rootScope({ mode: "inference" });
    const ids = input("ids", "int64", ["N", length]);
    const text = graph("clip-text", { embedding: buildClipTextEmbedding(scope(), config, ids) });
    const side = config.vision.imageSize;
    const pixels = input("pixels", "float32", ["N", 3, side, side]);
    const image = graph("clip-image", { embedding: buildClipImageEmbedding(scope(), config, pixels) });
    const program = (network: Graph, label: string, beyond: readonly RegExp[]): LazyProgram => {
      const weights = resolveWeights(network.parameters, source, { where, ignore: [...CLIP_IGNORED_KEYS, ...beyond] });
      return new LazyProgram(device, () => network, { weights, label });
    };
    this.#text = program(text, "clip text encoder", CLIP_KEYS_BEYOND_TEXT);
    this.#image = program(image, "clip image encoder", CLIP_KEYS_BEYOND_IMAGE);
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    if (typeof prompt !== "string") throw new UsageError(`prompt: expected text, got ${typeof prompt}`);
    const { tokenizer, length } = this.#parts;
    const { ids, truncated } = tokenizer.encode(prompt);
    const warnings = truncationWarnings(this.name, length, truncated);
    if (images.length === 0) return { scores: [], warnings };
    // others may wait for the same prompt: aborting stops the waiting, not the run
    const text = await unlessAborted(this.#embedText(prompt, ids), signal);
    const embeddings = await this.embedImages(images, signal === undefined ? {} : { signal });
    const scores = embeddings.map((embedding) => cosine(text, embedding));
    return { scores, warnings };
  }

  /** The images' projected embeddings, of any length; the cosine of two tells how alike the images are. @throws as `score` */
  async embedImages(
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<Float32Array[]> {
    const { config, batch } = this.#parts;
    const program = await this.#image.get();
    return inBatches(images, { size: config.vision.imageSize, batch, signal }, async (pixels) => {
      const outputs = await program.run({ pixels }, signal === undefined ? {} : { signal });
      const rows = outputs["embedding"]!.data as Float32Array;
      const width = rows.length / pixels.shape[0]!;
      return Array.from({ length: pixels.shape[0]! }, (_, i) => rows.subarray(i * width, (i + 1) * width));
    });
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#text.dispose(), this.#image.dispose()]);
  }

  /** The prompt's embedding; that of the latest prompt is kept. */
  #embedText(prompt: string, ids: readonly number[]): Promise<Float32Array> {
    if (this.#latest?.prompt === prompt) return this.#latest.embedding;
    const embedding = (async () => {
      const program = await this.#text.get();
      const outputs = await program.run({ ids: int64([1, ids.length], ids) });
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
