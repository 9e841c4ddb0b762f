/** @file Vectors of images and prompts: each computed once and kept while it may be asked for again. */

import { createHash } from "node:crypto";
import type { Graph } from "../graph/types.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import { throwIfAborted } from "../util/abort.js";
import { LruMap } from "../util/lru-map.js";
import type { WeightEntry } from "../weights/types.js";
import { type BatchOptions, inBatches } from "./batched.js";
import type { RewardOptions, TextFeeds } from "./contract.js";

/** Images whose vectors are kept: 3 kB each for CLIP ViT-L/14. */
const KEPT_IMAGES = 4096;
/** Prompts whose vectors are kept. */
const KEPT_PROMPTS = 256;

/** A graph whose output `embedding` is `[N, width]`, and its weights. */
export interface EmbeddingGraph {
  readonly graph: Graph;
  readonly weights: ReadonlyMap<string, WeightEntry>;
  readonly label: string;
}

/** From images to vectors. The graph's input is `pixels`. */
export class ImageVectors {
  readonly #program: LazyProgram;
  readonly #options: Omit<BatchOptions, "signal">;
  readonly #known = new LruMap<string, Float32Array>(KEPT_IMAGES);

  constructor(device: Device, { graph, weights, label }: EmbeddingGraph, options: Omit<BatchOptions, "signal">) {
    this.#program = new LazyProgram(device, () => graph, { weights, label });
    this.#options = options;
  }

  /** One vector an image. Equal images, now or earlier, are computed once. @throws CancelledError when the signal aborts */
  async embed(images: readonly (RgbImage | SourceImage)[], { signal }: RewardOptions = {}): Promise<Float32Array[]> {
    throwIfAborted(signal, "scoring");
    const keys = images.map(imageDigest);
    const found = new Map<string, Float32Array>();
    const missing = new Map<string, RgbImage | SourceImage>();
    for (const [i, key] of keys.entries()) {
      const known = this.#known.get(key);
      if (known === undefined) missing.set(key, images[i]!);
      else found.set(key, known);
    }
    if (missing.size > 0) {
      const program = await this.#program.get();
      const vectors = await inBatches([...missing.values()], { ...this.#options, signal }, async (pixels) => {
        const outputs = await program.run({ pixels }, signal === undefined ? {} : { signal });
        const rows = outputs["embedding"]!.data as Float32Array;
        const width = rows.length / pixels.shape[0]!;
        return Array.from({ length: pixels.shape[0]! }, (_, i) => rows.slice(i * width, (i + 1) * width));
      });
      for (const [i, key] of [...missing.keys()].entries()) {
        found.set(key, vectors[i]!);
        this.#known.set(key, vectors[i]!);
      }
    }
    return keys.map((key) => found.get(key)!);
  }

  /** Frees the program and forgets the vectors. */
  dispose(): Promise<void> {
    this.#known.clear();
    return this.#program.dispose();
  }
}

/** From prompts to vectors. */
export class TextVectors {
  readonly #program: LazyProgram;
  readonly #known = new LruMap<string, Promise<Float32Array>>(KEPT_PROMPTS);

  constructor(device: Device, { graph, weights, label }: EmbeddingGraph) {
    this.#program = new LazyProgram(device, () => graph, { weights, label });
  }

  /** The prompt's vector, computed once for all who ask. @param feeds of the graph for this prompt alone */
  embed(prompt: string, feeds: TextFeeds["feeds"]): Promise<Float32Array> {
    const known = this.#known.get(prompt);
    if (known !== undefined) return known;
    const vector = (async () => {
      const program = await this.#program.get();
      const outputs = await program.run(feeds);
      return outputs["embedding"]!.data as Float32Array;
    })();
    this.#known.set(prompt, vector);
    vector.catch(() => {
      if (this.#known.get(prompt) === vector) this.#known.delete(prompt);
    });
    return vector;
  }

  /** Frees the program and forgets the vectors. */
  dispose(): Promise<void> {
    this.#known.clear();
    return this.#program.dispose();
  }
}

/** Tells images apart by what they hold, so that one decoded anew is known again and one that was changed is not. */
function imageDigest(image: RgbImage | SourceImage): string {
  const hash = createHash("sha256").update(`${image.width} ${image.height} ${"mode" in image ? image.mode : "RGB"} `);
  const { buffer, byteOffset, byteLength } = image.data;
  hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  if ("mode" in image && image.mode === "P") hash.update(image.palette);
  return hash.digest("base64");
}
