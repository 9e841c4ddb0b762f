/** @file The scorer's preprocessing as a graph, and rewards behind it, against torch and against what score() does to bytes. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { graph, input, reduceSum } from "#laurel/graph/builder";
import { CLIP_PREPROCESSING, CLIP_STD, preprocessClip } from "#laurel/image/preprocess";
import { rootScope } from "#laurel/nn/scope";
import { openClipScore } from "#laurel/rewards/clip-score";
import type { DifferentiableReward } from "#laurel/rewards/contract";
import { openImageReward } from "#laurel/rewards/image-reward";
import { preprocessImage } from "#laurel/rewards/preprocess-graph";
import { type Device, openDevice } from "#laurel/runtime/device";
import { TorchGenerator } from "#laurel/tensor/random";
import { float32 } from "#laurel/tensor/tensor";
import { fixturePath, floats } from "./fixture.js";

interface Golden {
  readonly prompts: string[];
  readonly shape: [number, number, number, number];
  readonly image: string;
  readonly preprocessed: string;
  readonly "image-reward": { readonly scores: number[]; readonly gradient: string };
  readonly "clip-score": { readonly scores: number[]; readonly gradient: string };
}

const GOLDEN = JSON.parse(await readFile(fixturePath("gradients.json"), "utf8")) as Golden;
let device: Device;
let rewards: Record<"image-reward" | "clip-score", DifferentiableReward>;

beforeAll(async () => {
  device = openDevice();
  rewards = {
    "image-reward": await openImageReward(fixturePath("image-reward"), device),
    "clip-score": await openClipScore(fixturePath("clip"), device),
  };
});
afterAll(() => device.close());

function largest(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  return Array.from(actual).reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
}

/** What the graph makes of pictures [N,3,H,W]. */
async function preprocessed(shape: readonly number[], image: Float32Array, imageSize: number): Promise<Float32Array> {
  const [, , height = 0, width = 0] = shape;
  const x = input("image", "float32", ["N", 3, height, width]);
  const network = { imageSize, preprocessing: { ...CLIP_PREPROCESSING, mean: [0, 0, 0], std: [1, 1, 1] } } as const;
  const program = await device.compile(graph("preprocess", { y: preprocessImage(x, { height, width }, network) }));
  const { y } = await program.run({ image: float32(shape, image) });
  await program.dispose();
  return y!.data as Float32Array;
}

describe("an image's way to a reward, as a graph", () => {
  test.each([
    [64, 64, 224],
    [300, 200, 224],
    [200, 301, 224],
    [512, 512, 224],
    [224, 224, 224],
    [224, 300, 224],
    [64, 64, 32],
    [37, 91, 32],
    [50, 76, 32],
  ])(
    "a picture of %d x %d becomes %d pixels as score() makes them, but for the rounding to bytes",
    async (width, height, side) => {
      const random = new TorchGenerator(3);
      const data = Uint8Array.from(random.randn(3 * width * height), (value) =>
        Math.min(255, Math.max(0, 128 + 90 * value)),
      );
      const planes = new Float32Array(data.length);
      data.forEach((byte, i) => (planes[(i % 3) * width * height + Math.floor(i / 3)] = byte / 255));
      const actual = await preprocessed([1, 3, height, width], planes, side);
      const expected = preprocessClip({ width, height, data }, side);
      const means = [0.48145466, 0.4578275, 0.40821073];
      const colours = expected.map((value, i) => {
        const channel = Math.floor(i / (side * side)) as 0 | 1 | 2;
        return value * CLIP_STD[channel] + means[channel]!;
      });
      // Half a step for each of two passes, the first stretched by the second's negative weights.
      expect(largest(actual, colours) * 255).toBeLessThanOrEqual(width === side && height === side ? 1e-3 : 1.3);
    },
  );

  test("is torch's antialiased bicubic", async () => {
    const [count, , height, width] = GOLDEN.shape;
    const x = input("image", "float32", ["N", 3, height, width]);
    const { network } = rewards["image-reward"];
    const program = await device.compile(graph("preprocess", { y: preprocessImage(x, { height, width }, network) }));
    const { y } = await program.run({ image: float32(GOLDEN.shape, floats(GOLDEN.image)) });
    expect(y!.shape).toEqual([count, 3, network.imageSize, network.imageSize]);
    // float32 against torch's double precision, in units of a standard deviation
    expect(largest(y!.data as Float32Array, floats(GOLDEN.preprocessed))).toBeLessThanOrEqual(1e-5);
  });

  test("refuses an image of another size than was said", () => {
    const x = input("image", "float32", ["N", 3, 8, 8]);
    expect(() => preprocessImage(x, { height: 8, width: 9 }, rewards["clip-score"].network)).toThrow(
      "image: expected [N,3,8,9], got [N,3,8,8]",
    );
  });
});

describe.each(["image-reward", "clip-score"] as const)("the network of %s in a larger graph", (name) => {
  test.each(["training", "inference"] as const)("scores pictures with a prompt each in %s mode", async (mode) => {
    const { network } = rewards[name];
    const [, , height, width] = GOLDEN.shape;
    const image = input("image", "float32", ["N", 3, height, width]);
    const score = network.build(
      rootScope({ prefix: "reward.x", mode }),
      preprocessImage(image, { height, width }, network),
    );
    const outputs =
      mode === "training"
        ? { score, gradient: gradient(reduceSum(score, [0], { keepDims: false }), [image])[0]! }
        : { score };
    const weights = new Map([...network.weights].map(([key, entry]) => [`reward.x.${key}`, entry]));
    const program = await device.compile(graph("whole", outputs), { weights });
    const { feeds } = network.textFeeds("reward.x", GOLDEN.prompts);
    expect(Object.keys(feeds).every((key) => key.startsWith("reward.x."))).toBe(true);
    const result = await program.run({ ...feeds, image: float32(GOLDEN.shape, floats(GOLDEN.image)) });
    expect(largest(result["score"]!.data as Float32Array, GOLDEN[name].scores)).toBeLessThanOrEqual(1e-5);
    if (mode === "inference") return;
    const expected = floats(GOLDEN[name].gradient);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // what float32 leaves of a gradient through these depths; most of it is far below
    expect(largest(result["gradient"]!.data as Float32Array, expected) / scale).toBeLessThanOrEqual(1e-4);
  });

  test("warns once of a prompt that is cut, however many rows have it", () => {
    const long = "a red circle above ".repeat(12);
    const { warnings, feeds } = rewards[name].network.textFeeds("p", [long, "a red circle", long]);
    expect(warnings).toHaveLength(1);
    expect(feeds["p.ids"]!.shape[0]).toBe(3);
  });
});
