/** @file The two graphs of a bundle: from a picture and its prompt's tokens to the score, and on to the score's gradient. */

import { gradient } from "../../autodiff/gradient.js";
import { decodedPicture } from "../../diffusion/networks.js";
import { UsageError } from "../../errors.js";
import { add, graph, input, mul } from "../../graph/builder.js";
import type { Dim } from "../../graph/dims.js";
import type { Graph, Value } from "../../graph/types.js";
import { autoencoderFactor, type AutoencoderConfig } from "../../models/autoencoder-kl.js";
import { rootScope } from "../../nn/scope.js";
import type { RewardNetwork } from "../../rewards/contract.js";
import { type ImageSize, preprocessImage } from "../../rewards/preprocess-graph.js";
import type { WeightEntry } from "../../weights/types.js";

/** What the exported graphs begin with. */
export type PictureKind = "pixels" | "image" | "latents";

/** A reward of the sum. */
export interface Member {
  /** Unique in the bundle; prefix of its inputs and weights. */
  readonly name: string;
  readonly weight: number;
  readonly network: RewardNetwork;
}

/** The image decoder of a diffusion model. */
export interface Decoder {
  readonly config: AutoencoderConfig;
  /** By parameter name. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
}

/** What the graphs are made of. */
export interface GraphOptions {
  readonly from: PictureKind;
  /** Of the picture; not for pixels. */
  readonly size: ImageSize;
  /** Pictures at once; a name lets every run choose. */
  readonly batch: Dim;
  /** For latents. */
  readonly decoder?: Decoder | undefined;
}

/** The graphs, and the weights of both by parameter name. */
export interface RewardGraphs {
  readonly score: Graph;
  readonly gradient: Graph;
  readonly weights: ReadonlyMap<string, WeightEntry>;
}

/** Prefix of the decoder's weights. */
const VAE = "vae";

/**
 * `pixels`, `image` or `latents` and the members' text inputs -> `score` `[N]` = sum of weight times member's score, and where there are several
 * members each one's own as `<name>.score`; the second graph also takes `upstream` `[N]` and gives `gradient`, of the picture's shape.
 * @throws UsageError when a size does not fit or a reward cannot be differentiated
 */
export function rewardGraphs(members: readonly Member[], options: GraphOptions): RewardGraphs {
  const picture = pictureInput(members, options);
  const image = options.from === "pixels" ? picture : decoded(picture, options);
  const scores = members.map(({ name, network }) => {
    const pixels = options.from === "pixels" ? image : preprocessImage(image, options.size, network);
    return network.build(rootScope({ prefix: name, mode: "training" }), pixels);
  });
  const weighted = scores.map((score, i) => (members[i]!.weight === 1 ? score : mul(score, members[i]!.weight)));
  const score = weighted.reduce((sum, part) => add(sum, part));
  const own = members.length === 1 ? [] : members.map(({ name }, i) => [`${name}.score`, scores[i]!] as const);
  const upstream = input("upstream", "float32", [options.batch]);
  const [slope] = gradient([{ value: score, upstream }], [picture]);
  const weights = new Map<string, WeightEntry>();
  for (const [prefix, entries] of [
    ...members.map(({ name, network }) => [name, network.weights] as const),
    ...(options.decoder === undefined ? [] : [[VAE, options.decoder.weights] as const]),
  ]) {
    for (const [key, entry] of entries) weights.set(`${prefix}.${key}`, entry);
  }
  return {
    score: graph("reward", { score, ...Object.fromEntries(own) }),
    gradient: graph("reward-gradient", { score, ...Object.fromEntries(own), gradient: slope! }),
    weights,
  };
}

function pictureInput(members: readonly Member[], { from, size, batch, decoder }: GraphOptions): Value {
  const { height, width } = size;
  if (from === "image") return input("image", "float32", [batch, 3, height, width]);
  if (from === "pixels") {
    const side = commonPixels(members);
    return input("pixels", "float32", [batch, 3, side, side]);
  }
  if (decoder === undefined) throw new UsageError("latents: expected a model whose decoder stands in front, got none");
  const factor = autoencoderFactor(decoder.config);
  if (height % factor !== 0 || width % factor !== 0) {
    throw new UsageError(`size: expected sides divisible by ${factor}, got ${width}x${height}`);
  }
  return input("latents", "float32", [batch, decoder.config.latentChannels, height / factor, width / factor]);
}

/** Latents as the denoiser has them, decoded to colours in [0, 1]; an image as it is. */
function decoded(picture: Value, { from, decoder }: GraphOptions): Value {
  if (from !== "latents" || decoder === undefined) return picture;
  return decodedPicture(rootScope({ prefix: VAE, mode: "training" }), decoder.config, picture);
}

/** Side of the pixels that all members read. @throws UsageError when they do not read the same */
function commonPixels(members: readonly Member[]): number {
  const described = members.map(({ name, network: { imageSize, preprocessing } }) => ({
    name,
    key: JSON.stringify([imageSize, preprocessing]),
    imageSize,
  }));
  const [first, ...others] = described;
  const odd = others.find(({ key }) => key !== first!.key);
  if (odd === undefined) return first!.imageSize;
  throw new UsageError(
    `pixels: expected rewards that read the same pixels, got ${first!.name} with ${first!.imageSize} and ${odd.name} with ${odd.imageSize}, or ` +
      "otherwise preprocessed; an image as input suits both",
  );
}
