/** @file Scores of pictures with their gradients by latents: the decoder and somebody's network as one graph. */

import { gradient } from "../autodiff/gradient.js";
import { graph, input, reduceSum } from "../graph/builder.js";
import type { Graph, Value } from "../graph/types.js";
import type { AutoencoderConfig } from "../models/autoencoder-kl.js";
import { rootScope, type Scope } from "../nn/scope.js";
import { elementCount, float32, type Tensor } from "../tensor/tensor.js";
import { throwIfAborted } from "../util/abort.js";
import type { WeightEntry } from "../weights/types.js";
import { decodedPicture, type LatentSize } from "./networks.js";
import type { Runnable } from "./runnable.js";
import type { Trajectory } from "./trajectory.js";

/** What gives pictures a score, as a part of a graph. Its program is kept: two judges with the same `weights` object must build the same. */
export interface PictureJudge {
  readonly name: string;
  /**
   * Pictures float32 [N, 3, H, W] of RGB in [0, 1] to scores [N], without mixing rows, of differentiable ops alone. Its parameters lie below the scope's
   * prefix; its own graph inputs are those of `feeds`.
   */
  build(scope: Scope, picture: Value, size: { readonly height: number; readonly width: number }): Value;
  /** By parameter name below the prefix. */
  readonly weights: ReadonlyMap<string, WeightEntry>;
  /** What its graph inputs are fed, one row each, for a network built under `prefix`. */
  feeds(prefix: string): Readonly<Record<string, Tensor>>;
}

/** A score, and how it changes with the latents of its picture. */
export interface ScoreGradient {
  readonly score: number;
  /** The shape of the latents, flattened. */
  readonly gradient: Float32Array;
}

/** Prefixes of the networks' parameters. */
const [VAE, JUDGE] = ["vae", "judge"];

/** `latents` [1, C, h, w] as the denoiser has them, and the judge's inputs -> `score` [1] and `gradient`, of the latents' shape. */
export function scoreGradientGraph(
  config: AutoencoderConfig,
  { height, width }: LatentSize,
  factor: number,
  judge: PictureJudge,
): Graph {
  const latents = input("latents", "float32", [1, config.latentChannels, height, width]);
  const picture = decodedPicture(rootScope({ prefix: VAE, mode: "training" }), config, latents);
  const size = { height: height * factor, width: width * factor };
  const score = judge.build(rootScope({ prefix: JUDGE, mode: "training" }), picture, size);
  const [slope] = gradient(reduceSum(score, [0], { keepDims: false }), [latents]);
  return graph("score-gradient", { score, gradient: slope! });
}

/** The weights of both networks by the names they have in the graph. */
export function scoreGradientWeights(
  decoder: ReadonlyMap<string, WeightEntry>,
  judge: PictureJudge,
): Map<string, WeightEntry> {
  const under = (prefix: string, weights: ReadonlyMap<string, WeightEntry>) =>
    [...weights].map(([name, entry]) => [`${prefix}.${name}`, entry] as const);
  return new Map([...under(VAE!, decoder), ...under(JUDGE!, judge.weights)]);
}

/** Runs a program of {@link scoreGradientGraph}, one row at a time as `PixelGradient` does. @throws CancelledError when the signal aborts */
export async function scoreGradients(
  program: Runnable,
  { latentShape }: Trajectory,
  latents: readonly Float32Array[],
  judge: PictureJudge,
  signal: AbortSignal | undefined,
): Promise<ScoreGradient[]> {
  const shape = [1, ...latentShape];
  const texts = judge.feeds(JUDGE!);
  const results: ScoreGradient[] = [];
  for (const one of latents) {
    throwIfAborted(signal);
    const own = float32(shape, one.slice(0, elementCount(shape)));
    const outputs = await program.run({ ...texts, latents: own }, { signal });
    const [score = Number.NaN] = outputs["score"]!.data as Float32Array;
    results.push({ score, gradient: outputs["gradient"]!.data as Float32Array });
  }
  return results;
}
