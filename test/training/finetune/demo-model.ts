/** @file The demo model in training, with its rewards, for tests. */

import { fileURLToPath } from "node:url";
import type { Device } from "#laurel/runtime/device";
import { openClipScore } from "#laurel/rewards/clip-score";
import { openImageReward } from "#laurel/rewards/image-reward";
import { TorchGenerator } from "#laurel/tensor/random";
import { elementCount, float32, type Tensor } from "#laurel/tensor/tensor";
import type { FinetuneSettings } from "#laurel/training/finetune/settings";
import { openTunedModel, type TunedModel } from "#laurel/training/finetune/tuned-model";

const DEMO = fileURLToPath(new URL("../../../models/demo/", import.meta.url));

/** The demo's rewards as guides. */
export async function openGuides(device: Device, weights: Readonly<Record<string, number>> = { "image-reward": 1 }) {
  const open = { "image-reward": openImageReward, "clip-score": openClipScore };
  const folders: Readonly<Record<string, string>> = { "image-reward": "image-reward", "clip-score": "clip" };
  return Promise.all(
    Object.entries(weights).map(async ([name, weight]) => {
      const reward = await open[name as keyof typeof open](`${DEMO}${folders[name]}`, device);
      return { reward, weight };
    }),
  );
}

/** The demo model with what `train` says in training. */
export function openDemo(train: FinetuneSettings["train"]): Promise<TunedModel> {
  return openTunedModel(`${DEMO}stable-diffusion`, { train, seed: 1 });
}

/** Low-rank terms of exactly these modules. */
export function lora(
  unet: string[],
  text: string[] = [],
  rank = 2,
  alpha: number | null = null,
): Extract<FinetuneSettings["train"], { kind: "lora" }> {
  return { kind: "lora", rank, alpha, targets: unet, textEncoder: text.length === 0 ? null : text };
}

/** The model with random values of its low-rank terms, drawn as test/reference/finetune.py draws them, bound on the device. */
export async function bindRandom(
  device: Device,
  model: TunedModel,
  seed: number,
  spread: number,
): Promise<ReadonlyMap<string, Tensor>> {
  const generator = new TorchGenerator(seed);
  const start = new Map<string, Tensor>();
  for (const name of [...model.start.keys()].sort()) {
    const { shape } = model.start.get(name)!;
    const values = generator.uniform(elementCount(shape)).map((u) => Math.fround(2 * u - 1) * spread);
    start.set(name, float32(shape, values));
  }
  for (const [name, value] of start) await device.bind(name, value);
  return start;
}

/** Values of mean 0 and variance 1 from torch's uniform stream, which is bit for bit torch's. */
export function uniformNoise(seed: number, count: number, scale = 1): Float32Array {
  return new TorchGenerator(seed).uniform(count).map((u) => scale * Math.fround(Math.fround(2 * u - 1) * 1.75));
}

/** The largest difference as a share of the largest expected value. */
export function relativeDifference(actual: Tensor, expected: Float32Array): number {
  let [difference, largest] = [0, 0];
  expected.forEach((value, i) => {
    difference = Math.max(difference, Math.abs((actual.data as Float32Array)[i]! - value));
    largest = Math.max(largest, Math.abs(value));
  });
  return actual.data.length === expected.length ? difference / largest : Number.NaN;
}
