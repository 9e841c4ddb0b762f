/** @file Scores and their gradients with respect to preprocessed pixels, for any reward network. */

import { gradient } from "../autodiff/gradient.js";
import { UsageError } from "../errors.js";
import { graph, input, reduceSum } from "../graph/builder.js";
import type { Graph } from "../graph/types.js";
import { type NetworkMode, rootScope } from "../nn/scope.js";
import type { Device } from "../runtime/device.js";
import { LazyProgram } from "../runtime/lazy-program.js";
import { float32, type Tensor } from "../tensor/tensor.js";
import type { RewardGradient, RewardNetwork, RewardOptions } from "./contract.js";

/**
 * `pixels` float32 `[N, 3, S, S]` and the network's text inputs -> `score` `[N]`.
 * @param int8 which linear layers multiply in int8, as `RootScopeOptions.int8`
 */
export function scoreGraph(
  name: string,
  network: Pick<RewardNetwork, "imageSize" | "build">,
  mode: NetworkMode,
  int8?: (module: string) => boolean,
): Graph {
  const { imageSize } = network;
  const pixels = input("pixels", "float32", ["N", 3, imageSize, imageSize]);
  return graph(name, { score: network.build(rootScope({ mode, int8 }), pixels) });
}

/** The program that gives `score` and the gradient of each with respect to its own pixels. */
export class PixelGradient {
  readonly #network: RewardNetwork;
  readonly #program: LazyProgram;

  /** @param name of the reward, for messages */
  constructor(device: Device, name: string, network: RewardNetwork) {
    this.#network = network;
    const { weights } = network;
    this.#program = new LazyProgram(device, () => gradientGraph(name, network), { weights, label: `${name} gradient` });
  }

  /** As `DifferentiableReward.gradient`. */
  async run(prompt: string, pixels: Tensor<"float32">, { signal }: RewardOptions = {}): Promise<RewardGradient> {
    const [count, ...rest] = pixels.shape;
    const { imageSize } = this.#network;
    const expected = [3, imageSize, imageSize];
    if (count === undefined || count < 1 || rest.join() !== expected.join()) {
      throw new UsageError(`pixels: expected [N,${expected.join(",")}], got [${pixels.shape.join(",")}]`);
    }
    const { feeds, warnings } = this.#network.textFeeds("", [prompt]);
    const program = await this.#program.get();
    const plane = pixels.data.length / count;
    const scores: number[] = [];
    const slopes = new Float32Array(pixels.data.length);
    // one at a time: primitive products of several rows round differently, and the inner tensors of a backward pass are large
    for (let i = 0; i < count; i++) {
      const own = float32([1, ...expected], pixels.data.slice(i * plane, (i + 1) * plane));
      const outputs = await program.run({ ...feeds, pixels: own }, signal === undefined ? {} : { signal });
      scores.push((outputs["score"]!.data as Float32Array)[0]!);
      slopes.set(outputs["gradient"]!.data as Float32Array, i * plane);
    }
    return { scores, gradient: float32(pixels.shape, slopes), warnings };
  }

  /** Frees the program. */
  dispose(): Promise<void> {
    return this.#program.dispose();
  }
}

function gradientGraph(name: string, network: RewardNetwork): Graph {
  const forward = scoreGraph(name, network, "training");
  const score = forward.outputs.get("score")!;
  // rows do not mix, so the gradient of the sum holds each score's own
  const [pixels] = gradient(reduceSum(score, [0], { keepDims: false }), [forward.inputs.get("pixels")!]);
  return graph(`${name}-gradient`, { score, gradient: pixels! });
}
