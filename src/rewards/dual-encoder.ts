/** @file A reward of two encoders: each image and each prompt becomes a vector once, and the score is their cosine times a factor. */

import { graph, input } from "../graph/builder.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import { rootScope } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import type { Tensor } from "../tensor/tensor.js";
import { throwIfAborted, unlessAborted } from "../util/abort.js";
import type { ModelIdentity } from "../weights/identity.js";
import type { WeightEntry } from "../weights/types.js";
import type { DifferentiableReward, RewardGradient, RewardOptions, RewardResult, ScoreReference } from "./contract.js";
import type { DualNetwork } from "./dual-network.js";
import { ImageVectors, TextVectors } from "./embeddings.js";
import { PixelGradient } from "./pixel-gradient.js";
import { SharedPart, sharedKey } from "./shared.js";

/** What a reward of two encoders says of itself. */
export interface DualEncoderFacts {
  readonly name: string;
  readonly model: ModelIdentity;
  readonly range: readonly [number, number];
  readonly reference: ScoreReference | undefined;
}

/** What a reward of two encoders is made of. */
export interface DualEncoderParts extends DualEncoderFacts {
  readonly network: DualNetwork;
  readonly image: SharedPart<ImageVectors>;
  readonly text: SharedPart<TextVectors>;
}

/** The parts of a reward, its encoders shared with all rewards of the device over the same weights. @param batch images encoded together */
export async function dualEncoderParts(
  device: Device,
  network: DualNetwork,
  batch: number,
  facts: DualEncoderFacts,
): Promise<DualEncoderParts> {
  const scope = () => rootScope({ mode: "inference" });
  const text = graph("text-encoder", { embedding: network.buildText(scope(), "N") });
  const used = weightsOf(text.parameters, network.weights);
  const key = await sharedKey(used, ["text", network.keys.text]);
  return {
    ...facts,
    network,
    image: await sharedImageVectors(device, network, batch),
    text: new SharedPart(
      device,
      key,
      () => new TextVectors(device, { graph: text, weights: used, label: "text encoder" }),
    ),
  };
}

/** The image encoder of a network, shared with all rewards of the device that see the same through the same weights. */
export async function sharedImageVectors(
  device: Device,
  network: Pick<DualNetwork, "buildImage" | "imageSize" | "preprocessing" | "weights" | "keys">,
  batch: number,
): Promise<SharedPart<ImageVectors>> {
  const { imageSize, preprocessing, weights, keys } = network;
  const pixels = input("pixels", "float32", ["N", 3, imageSize, imageSize]);
  const encoder = graph("image-encoder", {
    embedding: network.buildImage(rootScope({ mode: "inference" }), pixels),
  });
  const used = weightsOf(encoder.parameters, weights);
  const key = await sharedKey(used, ["image", keys.image, preprocessing, batch]);
  const parts = { graph: encoder, weights: used, label: "image encoder" };
  return new SharedPart(device, key, () => new ImageVectors(device, parts, { network, batch }));
}

function weightsOf(
  parameters: ReadonlyMap<string, unknown>,
  weights: ReadonlyMap<string, WeightEntry>,
): Map<string, WeightEntry> {
  return new Map([...weights].filter(([name]) => parameters.has(name)));
}

/** A reward of two encoders on a device. */
export class DualEncoder implements DifferentiableReward {
  readonly name: string;
  readonly range: readonly [number, number];
  readonly reference: ScoreReference | undefined;
  readonly imageSize: number;
  readonly model: ModelIdentity;
  readonly network: DualNetwork;
  readonly #image: SharedPart<ImageVectors>;
  readonly #text: SharedPart<TextVectors>;
  readonly #gradient: PixelGradient;

  /** Use the functions that open rewards. @internal */
  constructor(device: Device, { name, model, range, reference, network, image, text }: DualEncoderParts) {
    this.name = name;
    this.model = model;
    this.range = range;
    this.reference = reference;
    this.network = network;
    this.imageSize = network.imageSize;
    this.#image = image;
    this.#text = text;
    this.#gradient = new PixelGradient(device, name, network);
  }

  async score(
    prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    options: RewardOptions = {},
  ): Promise<RewardResult> {
    const { feeds, warnings } = this.network.textFeeds("", [prompt]);
    if (images.length === 0) return { scores: [], warnings };
    throwIfAborted(options.signal, "scoring");
    // others may wait for the same prompt: aborting stops the waiting, not the run
    const text = await unlessAborted(this.#text.get().embed(prompt, feeds), options.signal);
    const vectors = await this.embedImages(images, options);
    return { scores: vectors.map((vector) => this.network.factor * cosine(text, vector)), warnings };
  }

  /** The images' projected embeddings, of any length; the cosine of two tells how alike the images are. @throws as `score` */
  async embedImages(images: readonly (RgbImage | SourceImage)[], options: RewardOptions = {}): Promise<Float32Array[]> {
    return this.#image.get().embed(images, options);
  }

  gradient(prompt: string, pixels: Tensor<"float32">, options: RewardOptions = {}): Promise<RewardGradient> {
    return this.#gradient.run(prompt, pixels, options);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#text.dispose(), this.#image.dispose(), this.#gradient.dispose()]);
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
