/** @file LAION's aesthetic predictor v2: a linear head on the normalised image embedding of CLIP ViT-L/14. It reads no prompt. */

import { basename, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { div, graph, input, mul, reduceSum, reshape, sqrt } from "../graph/builder.js";
import type { Value } from "../graph/types.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import { CLIP_PREPROCESSING } from "../image/preprocess.js";
import { ShapeReader } from "../models/blip-config.js";
import { buildLinearHead, type LinearHead, readLinearHead } from "../models/linear-head.js";
import { batchOf } from "../nn/dimension.js";
import { rootScope, type Scope } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import { float32, type Tensor } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import type { ModelIdentity } from "../weights/identity.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import { checkBatch, DEFAULT_BATCH } from "./batched.js";
import { openClip } from "./clip-network.js";
import type {
  DifferentiableReward,
  RewardGradient,
  RewardNetwork,
  RewardOptions,
  RewardResult,
  ScoreReference,
} from "./contract.js";
import { sharedImageVectors } from "./dual-encoder.js";
import type { DualNetwork } from "./dual-network.js";
import type { ImageVectors } from "./embeddings.js";
import { PixelGradient } from "./pixel-gradient.js";
import type { SharedPart } from "./shared.js";

const NAME = "aesthetic";
/** Of the published head. */
const REFERENCE: ScoreReference = {
  mean: 4.5,
  std: 0.7,
  source: "LAION-2B-en as published: half of the pictures score 4.5 or more, a quarter 5 or more",
};

/** Where CLIP lies, and how much is scored together. */
export interface AestheticOptions {
  /** A `CLIPModel` folder of transformers: the CLIP whose embeddings the head was trained on. */
  readonly clip: string;
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
  /** For ensembles. @default that of the published head */
  readonly reference?: ScoreReference | undefined;
}

/**
 * Opens the head (`sac+logos+ava1-l14-linearMSE.pth`, keys `layers.{0,2,4,6,7}`) and the CLIP below it.
 * @throws ModelError when a part is missing or of another kind, or the head is for another width of embeddings
 */
export async function openAesthetic(path: string, device: Device, options: AestheticOptions): Promise<Aesthetic> {
  const { batch = DEFAULT_BATCH, reference = REFERENCE } = options;
  checkBatch(batch);
  const [file, clip] = [resolve(path), resolve(options.clip)];
  const source = await openWeights(file);
  const reader = new ShapeReader(new Map([...source.entries].map(([key, entry]) => [key, entry.shape])));
  const head = readLinearHead(reader, "layers");
  const [, width = 0] = reader.of(`layers.${head[0]?.index ?? 0}.weight`, 2);
  reader.finish(`${file}: not an aesthetic head`);
  const files = { config: join(clip, "config.json"), weights: clip, tokenizer: clip };
  const { network, config } = await openClip(files, { name: NAME, preprocessing: CLIP_PREPROCESSING, scaled: false });
  if (width !== config.projection) {
    throw new ModelError(
      `${file}: expected a head for the ${config.projection} numbers of an embedding of ${clip}, got one for ${width}`,
    );
  }
  const scorer = graph("aesthetic-head", { score: buildHead(rootScope({ mode: "inference" }), head, embeddingInput(width)) }); // prettier-ignore
  const headWeights = resolveWeights(scorer.parameters, source, { where: "aesthetic head", rename: (key) => `head.${key}` }); // prettier-ignore
  const seen = rootScope({ mode: "inference" });
  const pixels = input("pixels", "float32", ["N", 3, network.imageSize, network.imageSize]);
  const used = graph("image", { embedding: network.buildImage(seen, pixels) }).parameters;
  const weights = new Map([...[...network.weights].filter(([name]) => used.has(name)), ...headWeights]);
  return new Aesthetic(device, {
    network: aestheticNetwork(network, head, weights),
    image: await sharedImageVectors(device, network, batch),
    scorer: new LazyProgram(device, () => scorer, { weights: headWeights, label: "aesthetic head" }),
    model: { name: basename(file), path: file, also: [clip] },
    reference,
  });
}

function embeddingInput(width: number): Value {
  return input("embedding", "float32", ["N", width]);
}

/** head(e / |e|), `[N]`. */
function buildHead(scope: Scope, head: LinearHead, embedding: Value): Value {
  const length = sqrt(reduceSum(mul(embedding, embedding), [1], { keepDims: true }));
  const scores = buildLinearHead(scope.at("head", "layers"), head, div(embedding, length));
  return reshape(scores, [batchOf(embedding)]);
}

function aestheticNetwork(
  { imageSize, preprocessing, buildImage }: DualNetwork,
  head: LinearHead,
  weights: RewardNetwork["weights"],
): RewardNetwork {
  return {
    imageSize,
    preprocessing,
    tokenizer: undefined,
    weights,
    build: (scope, pixels) => buildHead(scope, head, buildImage(scope, pixels)),
    textFeeds: () => ({ feeds: {}, warnings: [] }),
  };
}

interface Parts {
  readonly network: RewardNetwork;
  readonly image: SharedPart<ImageVectors>;
  readonly scorer: LazyProgram;
  readonly model: ModelIdentity;
  readonly reference: ScoreReference;
}

/** The aesthetic predictor on a device: about 1 to 10, higher is more beautiful. The prompt changes nothing. */
export class Aesthetic implements DifferentiableReward {
  readonly name = NAME;
  readonly range = [3, 7.5] as const;
  readonly reference: ScoreReference;
  readonly imageSize: number;
  readonly model: ModelIdentity;
  readonly network: RewardNetwork;
  readonly #image: SharedPart<ImageVectors>;
  readonly #scorer: LazyProgram;
  readonly #gradient: PixelGradient;

  /** Use {@link openAesthetic}. @internal */
  constructor(device: Device, { network, image, scorer, model, reference }: Parts) {
    this.network = network;
    this.imageSize = network.imageSize;
    this.model = model;
    this.reference = reference;
    this.#image = image;
    this.#scorer = scorer;
    this.#gradient = new PixelGradient(device, NAME, network);
  }

  async score(
    _prompt: string,
    images: readonly (RgbImage | SourceImage)[],
    options: RewardOptions = {},
  ): Promise<RewardResult> {
    if (images.length === 0) return { scores: [], warnings: [] };
    throwIfAborted(options.signal, "scoring");
    const [scorer, vectors] = [await this.#scorer.get(), await this.embedImages(images, options)];
    const scores: number[] = [];
    // one at a time, which costs next to nothing: products of several rows round differently
    for (const vector of vectors) {
      const outputs = await scorer.run({ embedding: float32([1, vector.length], vector) }, options);
      scores.push((outputs["score"]!.data as Float32Array)[0]!);
    }
    return { scores, warnings: [] };
  }

  /** The images' embeddings by the CLIP below the head, of any length. @throws as `score` */
  async embedImages(images: readonly (RgbImage | SourceImage)[], options: RewardOptions = {}): Promise<Float32Array[]> {
    return this.#image.get().embed(images, options);
  }

  gradient(prompt: string, pixels: Tensor<"float32">, options: RewardOptions = {}): Promise<RewardGradient> {
    return this.#gradient.run(prompt, pixels, options);
  }

  async dispose(): Promise<void> {
    await Promise.all([this.#image.dispose(), this.#scorer.dispose(), this.#gradient.dispose()]);
  }
}
