/** @file Gradients of a score by the noise of a picture, against differences of the same pictures drawn forward. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LatentState } from "#laurel/diffusion/latents";
import type { DiffusionRequest } from "#laurel/diffusion/request";
import {
  openStableDiffusion,
  type PictureJudge,
  type StableDiffusion,
  type Trajectory,
} from "#laurel/diffusion/stable-diffusion";
import { constant, input, mul, reduceSum } from "#laurel/graph/builder";
import { decodeRgb } from "#laurel/image/decode";
import { openImageReward } from "#laurel/rewards/image-reward";
import { type Device, openDevice } from "#laurel/runtime/device";
import type { StepCotangents } from "#laurel/samplers/pull-back";
import { pictureJudge } from "#laurel/strategies/search/gradients";
import { float32 } from "#laurel/tensor/tensor";
import { smallRandom } from "#laurel/util/statistics";
import { assembled, distilledFolder, FOLDER, removeFolders } from "./tiny-model.js";

let device: Device;
let model: StableDiffusion;
beforeAll(async () => {
  device = openDevice({ threads: 1 });
  model = await openStableDiffusion(FOLDER, device);
});
afterAll(async () => {
  await device.close();
  await removeFolders();
});

const SIDE = 32;
const uniform = smallRandom(11);
const WEIGHTS = Float32Array.from({ length: 3 * SIDE * SIDE }, () => uniform() - 0.5);

/** A judge whose score is a fixed sum over the pixels, times what its text is fed as. */
function judge(factor = 1): PictureJudge {
  return {
    name: "sum",
    weights: NO_WEIGHTS,
    build(scope, picture) {
      const text = input(`${scope.prefix}.factor`, "float32", [1, 1, 1, 1]);
      const weighted = mul(picture, constant(float32([3, SIDE, SIDE], WEIGHTS)));
      return reduceSum(mul(weighted, text), [1, 2, 3], { keepDims: false });
    },
    feeds: (prefix) => ({ [`${prefix}.factor`]: float32([1, 1, 1, 1], [factor]) }),
  };
}
const NO_WEIGHTS = new Map<string, never>();

const REQUEST: DiffusionRequest = { prompt: "a cat", seed: 3, steps: 3, guidance: 3, sampler: "ddim", width: SIDE, height: SIDE }; // prettier-ignore

/** The states before each entry, and at the end. */
async function follow(own: StableDiffusion, trajectory: Trajectory, start: LatentState): Promise<LatentState[]> {
  const states = [start];
  while (states.at(-1)!.stepIndex < trajectory.sampler.timesteps.length)
    states.push((await own.step(trajectory, states.slice(-1)))[0]!);
  return states;
}

/** How the score changes with the first state's latents. */
async function slopeOf(own: StableDiffusion, trajectory: Trajectory, states: readonly LatentState[], by: PictureJudge) {
  const [end] = await own.scoreGradient(trajectory, states.slice(-1), by);
  let cotangents: StepCotangents = { sample: end!.gradient, history: [] };
  for (let k = states.length - 1; k > 0; k--)
    [cotangents] = (await own.pullBack(trajectory, [{ before: states[k - 1]!, after: states[k]! }], [cotangents])) as [
      StepCotangents,
    ];
  return { score: end!.score, gradient: cotangents.sample };
}

/** The largest difference from central differences along some directions, as a share of the gradient's norm. */
async function error(own: StableDiffusion, request: DiffusionRequest, by = 3e-4, judged = judge()): Promise<number> {
  const { trajectory, states } = await own.begin(request);
  const start = states[0]!;
  const { gradient } = await slopeOf(own, trajectory, await follow(own, trajectory, start), judged);
  const norm = Math.hypot(...gradient);
  expect(norm).toBeGreaterThan(1e-3);
  // along the gradient the difference is its norm; along others it is smaller
  const directions = [gradient.map((value) => value / norm)];
  for (const seed of [71, 72]) {
    const { latents } = own.start({ ...trajectory, init: undefined }, seed, 1)[0]!;
    const length = Math.hypot(...latents);
    directions.push(latents.map((value) => value / length));
  }
  let worst = 0;
  for (const direction of directions) {
    const length = by * Math.hypot(...start.latents);
    const scores: number[] = [];
    for (const sign of [1, -1]) {
      const moved = { ...start, latents: start.latents.map((value, i) => value + sign * length * direction[i]!) };
      const end = (await follow(own, trajectory, moved)).slice(-1);
      scores.push((await own.scoreGradient(trajectory, end, judged))[0]!.score);
    }
    const slope = direction.reduce((sum, value, i) => sum + value * gradient[i]!, 0);
    worst = Math.max(worst, Math.abs((scores[0]! - scores[1]!) / (2 * length) - slope) / norm);
  }
  return worst;
}

/** Central differences at this length differ from a slope by bends of the score (its pictures end at black and white), and by its rounding in float32. */
const TOLERANCE = 1e-3;
/** For pictures with far more black and white; rounding counts for more. */
const SHORT = 5e-5;

describe("the gradient of a score by the noise is how the score changes", () => {
  test.each([
    ["ddim", { guidance: 1 }],
    ["dpmpp-2m", { guidance: 4 }],
    ["heun", { guidance: 2, steps: 2 }],
    ["euler-a", { guidance: 2 }],
  ] as const)("with %s, %j", async (sampler, settings) => {
    expect(await error(model, { ...REQUEST, ...settings, sampler })).toBeLessThan(TOLERANCE);
  });

  test("from a picture, and where it is put back outside of a mask", async () => {
    const read = async (name: string) => decodeRgb(await readFile(fileURLToPath(new URL(`../fixtures/diffusion/${name}`, import.meta.url))), name); // prettier-ignore
    const [init, mask] = await Promise.all([read("init.png"), read("mask.png")]);
    expect(await error(model, { ...REQUEST, init, mask, strength: 0.8, sampler: "euler" }, SHORT)).toBeLessThan(
      TOLERANCE,
    );
    expect(await error(model, { ...REQUEST, init, strength: 0.6, sampler: "dpmpp-2m" })).toBeLessThan(TOLERANCE);
  });

  test("of the demo model with a LoRA, by the demo reward", async () => {
    const own = await openStableDiffusion(fileURLToPath(new URL("../../models/demo/stable-diffusion", import.meta.url)), device); // prettier-ignore
    const reward = await openImageReward(fileURLToPath(new URL("../../models/demo/image-reward", import.meta.url)), device); // prettier-ignore
    const lora = fileURLToPath(new URL("../fixtures/lora/attention.safetensors", import.meta.url));
    const { prompt, seed } = { prompt: "a red circle", seed: 1 };
    const request = { prompt, seed, steps: 4, loras: [{ path: lora, scale: 0.7 }], loraAnneal: 0.8 };
    const judged = pictureJudge("test", reward, prompt);
    expect(await error(own, request, 3e-4, judged)).toBeLessThan(2 * TOLERANCE);
    await Promise.all([own.dispose(), reward.dispose()]);
  });

  test("of a model that was distilled with guidance", async () => {
    const own = await openStableDiffusion(await distilledFolder(), device);
    expect(await error(own, { ...REQUEST, steps: 2, sampler: "dpmpp-2m" }, SHORT)).toBeLessThan(2 * TOLERANCE);
    await own.dispose();
  });

  test("of an XL", async () => {
    const own = await openStableDiffusion(await assembled("tiny-sdxl"), device);
    // a pixel turns black close by along the gradient: differences converge to it in proportion to their length, until rounding is larger
    expect(await error(own, { ...REQUEST, steps: 2, sampler: "dpmpp-2m" }, 2e-5)).toBeLessThan(10 * TOLERANCE);
    await own.dispose();
  });
});

describe("a way back", () => {
  test("without the denoiser is the product of what the sampler multiplies the sample with", async () => {
    const { trajectory, states } = await model.begin(REQUEST);
    const [before] = states;
    const [after] = await model.step(trajectory, states);
    const cotangents = [{ sample: before!.latents, history: [] }];
    const [given] = await model.pullBack(trajectory, [{ before: before!, after: after! }], cotangents, { through: false }); // prettier-ignore
    const { clean, next } = trajectory.sampler.steps[0]!;
    const weight = (next.sample ?? 0) + (next.clean ?? 0) * clean.sample;
    given!.sample.forEach((value, i) => expect(value).toBeCloseTo(weight * before!.latents[i]!, 5));
  });

  test("does not depend on the steps taken back beside it, bit for bit", async () => {
    const { trajectory, states } = await model.begin({ ...REQUEST, count: 3 });
    const after = await model.step(trajectory, states);
    const steps = states.map((before, i) => ({ before, after: after[i]! }));
    const cotangents = after.map(({ latents }) => ({ sample: latents, history: [] }));
    const together = await model.pullBack(trajectory, steps, cotangents);
    const alone = await model.pullBack(trajectory, steps.slice(1, 2), cotangents.slice(1, 2));
    expect(together[1]).toEqual(alone[0]);
    const ends = await model.scoreGradient(trajectory, after, judge());
    expect((await model.scoreGradient(trajectory, after.slice(2), judge()))[0]).toEqual(ends[2]);
  });

  test("leads through states that follow each other", async () => {
    const { trajectory, states } = await model.begin(REQUEST);
    const step = { before: states[0]!, after: states[0]! };
    await expect(model.pullBack(trajectory, [step], [{ sample: states[0]!.latents, history: [] }])).rejects.toThrow("pull back: expected a step's states before and after, got 0 and 0 of 3"); // prettier-ignore
  });

  test("is fed anew for another text, and counted once more than the way there", async () => {
    const { trajectory, states } = await model.begin(REQUEST);
    const [one] = await model.scoreGradient(trajectory, states, judge());
    const [two] = await model.scoreGradient(trajectory, states, judge(2));
    expect(two!.score).toBeCloseTo(2 * one!.score, 3);
    const { evaluation, decoding } = model.operations(trajectory);
    const { evaluationGradient, scoringGradient } = model.gradientOperations(trajectory, judge());
    expect(evaluationGradient / evaluation).toBeGreaterThan(1.9);
    expect(evaluationGradient / evaluation).toBeLessThan(3);
    expect(scoringGradient / decoding).toBeGreaterThan(1.9);
    expect(scoringGradient / decoding).toBeLessThan(3);
  });
});
