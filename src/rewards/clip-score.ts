/** @file CLIP score: the cosine between the embeddings of prompt and image (Hessel et al., arXiv 2104.08718, without its factor 2.5). */

import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { graph, input } from "../graph/builder.js";
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
import type { Program } from "../runtime/program.js";
import { int64 } from "../tensor/tensor.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import type { ClipTokenizer } from "../tokenizers/types.js";
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
  /** Folder it was opened from, absolute. */
  readonly path: string;
  readonly #parts: Parts;
  readonly #graphs: { readonly text: Compilable; readonly image: Compilable };
  #text: Promise<Program> | undefined;
  #image: Promise<Program> | undefined;
  #latest: { readonly prompt: string; readonly embedding: Promise<Float32Array> } | undefined;

  /** Use {@link openClipScore}. @throws ModelError listing every tensor that does not fit */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.path = parts.path;
    const { config, source, length } = parts;
    const where = "CLIPModel";
    const scope = () => rootScope({ mode: "inference" });
    const ids = input("ids", "int64", ["N", length]);
    const text = graph("clip-text", { embedding: buildClipTextEmbedding(scope(), config, ids) });
    const side = config.vision.imageSize;
    const pixels = input("pixels", "float32", ["N", 3, side, side]);
    const image = graph("clip-image", { embedding: buildClipImageEmbedding(scope(), config, pixels) });
    const resolved = (network: typeof text, beyond: readonly RegExp[]): Compilable => ({
      network,
      weights: resolveWeights(network.parameters, source, { where, ignore: [...CLIP_IGNORED_KEYS, ...beyond] }),
    });
    this.#graphs = { text: resolved(text, CLIP_KEYS_BEYOND_TEXT), image: resolved(image, CLIP_KEYS_BEYOND_IMAGE) };
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    { signal }: RewardOptions = {},
  ): Promise<RewardResult> {
    if (typeof prompt !== "string") throw new UsageError(`prompt: expected text, got ${typeof prompt}`);
    const { tokenizer, length, config, batch } = this.#parts;
    const { ids, truncated } = tokenizer.encode(prompt);
    const warnings = truncationWarnings(this.name, length, truncated);
    if (images.length === 0) return { scores: [], warnings };
    const text = await this.#embedText(prompt, ids, signal);
    this.#image ??= this.#compile("clip image encoder", this.#graphs.image);
    const program = await this.#image;
    const scores = await inBatches(images, { size: config.vision.imageSize, batch, signal }, async (pixels) => {
      const outputs = await program.run({ pixels }, signal === undefined ? {} : { signal });
      const rows = outputs["embedding"]!.data as Float32Array;
      const width = text.length;
      return Array.from({ length: rows.length / width }, (_, i) =>
        cosine(text, rows.subarray(i * width, (i + 1) * width)),
      );
    });
    return { scores, warnings };
  }

  async dispose(): Promise<void> {
    const programs = [this.#text, this.#image];
    this.#text = undefined;
    this.#image = undefined;
    for (const program of programs) await (await program?.catch(() => undefined))?.dispose();
  }

  /** The prompt's embedding; that of the latest prompt is kept. */
  #embedText(prompt: string, ids: readonly number[], signal: AbortSignal | undefined): Promise<Float32Array> {
    if (this.#latest?.prompt === prompt) return this.#latest.embedding;
    const embedding = (async () => {
      this.#text ??= this.#compile("clip text encoder", this.#graphs.text);
      const program = await this.#text;
      const outputs = await program.run({ ids: int64([1, ids.length], ids) }, signal === undefined ? {} : { signal });
      return outputs["embedding"]!.data as Float32Array;
    })();
    this.#latest = { prompt, embedding };
    embedding.catch(() => {
      if (this.#latest?.embedding === embedding) this.#latest = undefined;
    });
    return embedding;
  }

  #compile(label: string, { network, weights }: Compilable): Promise<Program> {
    return this.#parts.device.compile(network, { weights, label });
  }
}

/** A graph and the weights its parameters take. */
interface Compilable {
  readonly network: ReturnType<typeof graph>;
  readonly weights: ReturnType<typeof resolveWeights>;
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
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new ModelError(`${path}: expected a CLIP model's configuration, got ${(cause as Error).message}`, { cause });
  }
}
