import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openDevice } from "#laurel/runtime/device";
import { createAlphaBars } from "#laurel/samplers/noise-schedule";
import { createSampler } from "#laurel/samplers/sampler";
import type { Sampler, StepCoefficients } from "#laurel/samplers/contract";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { Drawer } from "#laurel/training/finetune/drawer";
import { rowErrors } from "#laurel/training/finetune/noise-loss";
import { noiseObjective, preferenceObjective } from "#laurel/training/finetune/noise-objective";
import {
  type GuideReward,
  lastStepsObjective,
  oneStepObjective,
  rewardPrefix,
} from "#laurel/training/finetune/reward-objective";
import type { TunedModel } from "#laurel/training/finetune/tuned-model";
import { createGradientProgram, type MemoryMode, type Objective } from "#laurel/training/gradient-program";
import { createOptimizer, readBound } from "#laurel/training/optimizer";
import { noisyTarget } from "#laurel/training/recipes/denoiser";
import { bindRandom, lora, openDemo, openGuides, relativeDifference, uniformNoise } from "./demo-model.js";

// Double precision of torch against float32 here.
const LOSS = 1e-6;
const GRADIENT = 1e-4;
const SIZE = 8 * 8 * 8;
const SHAPE = [2, 8, 8, 8];

interface GoldenStart {
  readonly seed: number;
  readonly spread: number;
  readonly unet: string[];
  readonly text: string[];
}
interface GoldenCase extends GoldenStart {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, string>>;
  readonly reference?: number[];
}
const golden = JSON.parse(readFileSync(new URL("../../fixtures/training/finetune.json", import.meta.url), "utf8")) as {
  prompts: string[];
  rank: number;
  alpha: number;
  cases: Readonly<Record<string, GoldenCase>>;
  updates: GoldenStart & {
    settings: { learningRate: number; weightDecay: number; clipNorm: number; averageDecay: number };
    norms: number[];
    parameters: Readonly<Record<string, string>>;
    averages: Readonly<Record<string, string>>;
  };
};
const { prompts } = golden;
const device = openDevice({ threads: 1 });
let guides: GuideReward[];
beforeAll(async () => {
  guides = await openGuides(device, { "image-reward": 1, "clip-score": 3 });
});
afterAll(() => device.close());

const decode = (text: string): Float32Array => new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
const rows = (value: number, count = 2): Tensor => float32([count, 1, 1, 1], new Float32Array(count).fill(value));

/** The model of a case, with its random start values bound. */
async function openCase({ seed, spread, unet, text }: GoldenStart): Promise<TunedModel> {
  const model = await openDemo(lora(unet, text, golden.rank, golden.alpha));
  return { ...model, start: await bindRandom(device, model, seed, spread) };
}

/** Loss and gradients for each of `feeds`. */
async function gradientsOf(
  objective: Objective,
  feeds: readonly Readonly<Record<string, Tensor>>[],
  memory?: MemoryMode,
) {
  const program = await createGradientProgram(device, "golden", objective, memory);
  const names = [...program.parameters.keys()].map((name) => `gradient/${name}`);
  const runs: { loss: number; gradients: Map<string, Tensor> }[] = [];
  for (const one of feeds)
    runs.push({ loss: (await program.run(one, "golden")).loss, gradients: await readBound(device, names) });
  await program.dispose();
  return runs;
}

/** Relative differences of loss and gradients, the largest of all parameters, from the golden ones; one for each of `feeds`. */
async function compare(
  { loss, gradients }: GoldenCase,
  objective: Objective,
  ...feeds: readonly Readonly<Record<string, Tensor>>[]
): Promise<{ loss: number; gradient: number }[]> {
  const runs = await gradientsOf(objective, feeds);
  return runs.map((run) => {
    expect([...run.gradients.keys()].sort()).toEqual(
      Object.keys(gradients)
        .map((name) => `gradient/${name}`)
        .sort(),
    );
    const differences = Object.entries(gradients).map(([name, expected]) =>
      relativeDifference(run.gradients.get(`gradient/${name}`)!, decode(expected)),
    );
    return { loss: Math.abs(run.loss - loss) / Math.abs(loss), gradient: Math.max(...differences) };
  });
}

/** The norm of the difference of two gradients as a share of the norm. */
function distance(actual: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): number {
  let [difference, norm] = [0, 0];
  for (const [name, { data }] of expected)
    (data as Float32Array).forEach((value, i) => {
      difference += ((actual.get(name)?.data as Float32Array)[i]! - value) ** 2;
      norm += value ** 2;
    });
  return Math.sqrt(difference / norm);
}

function expectGolden(found: { loss: number; gradient: number } | undefined): void {
  expect(found?.loss).toBeLessThan(LOSS);
  expect(found?.gradient).toBeLessThan(GRADIENT);
}

async function textFeeds(model: TunedModel, used: readonly GuideReward[], guided = false) {
  const drawer = new Drawer(device, model);
  const all = guided ? [...prompts.map(() => ""), ...prompts] : prompts;
  const context = model.trainsText ? drawer.tokens(all) : { conditioning: await drawer.conditioning(all) };
  await drawer.dispose();
  const read = used.map(({ reward }) => reward.network.textFeeds(rewardPrefix(reward), prompts).feeds);
  return Object.assign({}, context, ...read) as Record<string, Tensor>;
}

/** Feeds of one step of `sampler` from `sample`. */
function stepFeeds(sampler: Sampler, step: number, sample: Float32Array): Record<string, Tensor> {
  const { clean } = sampler.steps[step]!;
  return {
    sample: float32(SHAPE, sample),
    inputScale: rows(sampler.inputScales[step]!),
    cleanSample: rows(clean.sample),
    cleanOutput: rows(clean.output),
    timestep: float32([2], new Float32Array(2).fill(sampler.timesteps[step]!)),
  };
}

const HINGE = { margin: 2, scale: 1e-3 };

describe("ReFL's step has the loss and gradients of torch, diffusers and peft", () => {
  test("with low-rank terms on attention, whatever the memory", async () => {
    const expected = golden.cases["refl"]!;
    const model = await openCase(expected);
    const used = guides.slice(0, 1);
    const sampler = createSampler("ddpm", model.scheduler, 40);
    const feeds = { ...stepFeeds(sampler, 33, uniformNoise(21, 2 * SIZE)), ...(await textFeeds(model, used)) };
    const objective = oneStepObjective(model, used, { rows: 2, guidance: 1 }, HINGE);
    // another step's coefficients are told apart
    const wrong = { ...feeds, cleanOutput: rows(sampler.steps[34]!.clean.output) };
    const [found, other] = await compare(expected, objective, feeds, wrong);
    expectGolden(found);
    expect(other?.gradient).toBeGreaterThan(100 * GRADIENT);
    const [fast] = await gradientsOf(objective, [feeds]);
    for (const memory of ["balanced", "low"] as const) {
      const [run] = await gradientsOf(objective, [feeds], memory);
      expect(run!.loss / fast!.loss).toBeCloseTo(1, 6);
      // measured: balanced has fast's bits; low is 1.1e-5 from fast, 0.8e-5 from double precision, from which fast is 1.1e-5
      expect(distance(run!.gradients, fast!.gradients), memory).toBeLessThan(memory === "low" ? 3e-5 : 1e-5);
    }
  });

  test("with guidance and two rewards", async () => {
    const expected = golden.cases["refl guided, two rewards"]!;
    const model = await openCase(expected);
    const sampler = createSampler("ddpm", model.scheduler, 40);
    const feeds = { ...stepFeeds(sampler, 33, uniformNoise(22, 2 * SIZE)), ...(await textFeeds(model, guides, true)) };
    expectGolden(
      (await compare(expected, oneStepObjective(model, guides, { rows: 2, guidance: 2.5 }, HINGE), feeds))[0],
    );
    const wrong = oneStepObjective(model, guides, { rows: 2, guidance: 2.6 }, HINGE);
    expect((await compare(expected, wrong, feeds))[0]?.gradient).toBeGreaterThan(100 * GRADIENT);
  });

  test("with low-rank terms on convolutions and the text encoder", async () => {
    const expected = golden.cases["refl, convolutions and text encoder"]!;
    const model = await openCase(expected);
    expect(model.trainsText).toBe(true);
    const used = guides.slice(0, 1);
    const sampler = createSampler("ddpm", model.scheduler, 40);
    const feeds = { ...stepFeeds(sampler, 33, uniformNoise(23, 2 * SIZE)), ...(await textFeeds(model, used)) };
    expectGolden((await compare(expected, oneStepObjective(model, used, { rows: 2, guidance: 1 }, HINGE), feeds))[0]);
  });
});

describe("DRaFT has the loss and gradients of diffusers' schedulers, differentiated by torch", () => {
  const cases = [
    { sampler: "ddim", seed: 31 },
    { sampler: "ddpm", seed: 32 },
    { sampler: "dpmpp-2m", seed: 33 },
  ] as const;
  test.each(cases)("through the last two steps of $sampler", async ({ sampler: name, seed }) => {
    const expected = golden.cases[`draft-2, ${name}`]!;
    const model = await openCase(expected);
    const used = guides.slice(0, 1);
    const sampler = createSampler(name, model.scheduler, 20);
    const objective = lastStepsObjective(model, used, { rows: 2, guidance: 1 }, sampler, 2);
    const feeds: Record<string, Tensor> = {
      sample: float32(SHAPE, uniformNoise(seed, 2 * SIZE)),
      ...(name === "ddpm" ? { "noise.0": float32(SHAPE, uniformNoise(seed + 100, 2 * SIZE)) } : {}),
      ...(name === "dpmpp-2m" ? { "history.0": float32(SHAPE, uniformNoise(seed + 50, 2 * SIZE, 0.5)) } : {}),
      ...(await textFeeds(model, used)),
    };
    expectGolden((await compare(expected, objective, feeds))[0]);
    const steps = sampler.steps.with(-1, scaled(sampler.steps.at(-1)!));
    const wrong = lastStepsObjective(model, used, { rows: 2, guidance: 1 }, { ...sampler, steps }, 2);
    expect((await compare(expected, wrong, feeds))[0]?.gradient).toBeGreaterThan(10 * GRADIENT);
  });

  test("at the last noise level of a finished picture (DRaFT-LV)", async () => {
    const expected = golden.cases["draft-lv"]!;
    const model = await openCase(expected);
    const used = guides.slice(0, 1);
    const sampler = createSampler("ddim", model.scheduler, 20);
    const { sample, noise } = sampler.noising[19]!;
    const eps = uniformNoise(42, 2 * SIZE);
    const noised = uniformNoise(41, 2 * SIZE, 0.6).map((value, i) => sample * value + noise * eps[i]!);
    const feeds = { ...stepFeeds(sampler, 19, noised), ...(await textFeeds(model, used)) };
    const objective = oneStepObjective(model, used, { rows: 2, guidance: 1 }, undefined);
    const wrong = { ...feeds, ...stepFeeds(sampler, 18, noised) };
    const [found, other] = await compare(expected, objective, feeds, wrong);
    expectGolden(found);
    expect(other?.gradient).toBeGreaterThan(100 * GRADIENT);
  });
});

/** A step whose clean prediction is 2 % off. */
function scaled(step: StepCoefficients): StepCoefficients {
  return { ...step, clean: { ...step.clean, output: 1.02 * step.clean.output } };
}

describe("noise prediction has the loss and gradients of torch and diffusers", () => {
  function noised(model: TunedModel, clean: Float32Array, eps: Float32Array, timesteps: number[]) {
    const alphaBars = createAlphaBars(model.scheduler);
    const { sample, target } = noisyTarget(clean, eps, timesteps, alphaBars, model.scheduler.prediction_type);
    const shape = [timesteps.length, ...SHAPE.slice(1)];
    const feeds = {
      sample: float32(shape, sample),
      target: float32(shape, target),
      timestep: float32([timesteps.length], timesteps),
    };
    return { sample, target, feeds };
  }

  test("with weights", async () => {
    const expected = golden.cases["noise prediction"]!;
    const model = await openCase(expected);
    const { feeds } = noised(model, uniformNoise(51, 2 * SIZE, 0.6), uniformNoise(52, 2 * SIZE), [120, 733]);
    const all = { ...feeds, weight: float32([2], [0.5, 1.5]), ...(await textFeeds(model, [])) };
    const objective = noiseObjective(model, 2);
    const wrong = { ...all, weight: float32([2], [1.5, 0.5]) };
    const [found, other] = await compare(expected, objective, all, wrong);
    expectGolden(found);
    expect(other?.gradient).toBeGreaterThan(100 * GRADIENT);
  });

  test("of the guided prediction, where training is guided", async () => {
    const model = await openCase(golden.cases["noise prediction"]!);
    const timesteps = [120, 733];
    const clean = uniformNoise(51, 2 * SIZE, 0.6);
    const { feeds, sample, target } = noised(model, clean, uniformNoise(52, 2 * SIZE), timesteps);
    const drawer = new Drawer(device, model);
    const program = await createGradientProgram(device, "guided", noiseObjective(model, 2, 2.5));
    const conditioning = await drawer.conditioning(["", "", ...prompts]);
    const { loss } = await program.run({ ...feeds, weight: float32([2], [1, 1]), conditioning }, "guided");
    const lossOf = async (guidance: number): Promise<number> => {
      const errors = rowErrors(await drawer.predict({ sample, timesteps, prompts, guidance }), target, 2);
      return (errors[0]! + errors[1]!) / 2;
    };
    expect(loss / (await lossOf(2.5))).toBeCloseTo(1, 5);
    expect(Math.abs(loss / (await lossOf(1)) - 1)).toBeGreaterThan(1e-3);
    await program.dispose();
    await drawer.dispose();
  });

  test("as preferences (Diffusion-DPO), with the errors of the base from the drawer's own program", async () => {
    const expected = golden.cases["preferences"]!;
    const model = await openCase(expected);
    const eps = uniformNoise(62, 2 * SIZE);
    const both = new Float32Array(4 * SIZE);
    both.set(eps);
    both.set(eps, 2 * SIZE);
    const timesteps = [140, 620, 140, 620];
    const { feeds, sample, target } = noised(model, uniformNoise(61, 4 * SIZE, 0.6), both, timesteps);
    const drawer = new Drawer(device, model);
    const rowPrompts = [...prompts, ...prompts];
    const errors = rowErrors(await drawer.predict({ sample, timesteps, prompts: rowPrompts }, "base"), target, 4);
    errors.forEach((error, i) => expect(error / expected.reference![i]!).toBeCloseTo(1, 6));
    const all = { ...feeds, reference: float32([4], errors), conditioning: await drawer.conditioning(rowPrompts) };
    await drawer.dispose();
    const [found] = await compare(expected, preferenceObjective(model, 2, 5000), all);
    // beta / 2 = 2500 multiplies the rounding of errors of about 1
    expect(found?.loss).toBeLessThan(2500 * 2e-7);
    expect(found?.gradient).toBeLessThan(2500 * 2e-7);
    expect((await compare(expected, preferenceObjective(model, 2, 2500), all))[0]?.gradient).toBeGreaterThan(0.05);
  });
});

test("three updates are those of torch's AdamW, its clipping and a moving average", async () => {
  const { settings, norms, parameters, averages, ...start } = golden.updates;
  const model = await openCase(start);
  const program = await createGradientProgram(device, "updates", noiseObjective(model, 2));
  const { learningRate, ...rest } = settings;
  const optimizer = await createOptimizer(device, "updates", program.parameters, {
    schedule: { type: "constant", learningRate },
    ...rest,
  });
  const context = await textFeeds(model, []);
  const alphaBars = createAlphaBars(model.scheduler);
  for (let step = 0; step < 3; step++) {
    const [clean, eps] = [uniformNoise(300 + 2 * step, 2 * SIZE, 0.6), uniformNoise(301 + 2 * step, 2 * SIZE)];
    const timesteps = [90 + 200 * step, 700];
    const { sample, target } = noisyTarget(clean, eps, timesteps, alphaBars, model.scheduler.prediction_type);
    const feeds = { sample: float32(SHAPE, sample), target: float32(SHAPE, target), timestep: float32([2], timesteps) };
    await program.run({ ...feeds, weight: float32([2], [1, 1]), ...context }, "updates");
    const { gradientNorm } = await optimizer.step(step, 3);
    expect(gradientNorm / norms[step]!).toBeCloseTo(1, 5);
  }
  const names = [...program.parameters.keys()];
  const now = await readBound(device, names);
  const average = await optimizer.trained();
  for (const name of names) {
    expect(relativeDifference(now.get(name)!, decode(parameters[name]!)), name).toBeLessThan(1e-4);
    expect(relativeDifference(average.get(name)!, decode(averages[name]!)), name).toBeLessThan(1e-4);
    expect(relativeDifference(now.get(name)!, decode(averages[name]!)), name).toBeGreaterThan(1e-2);
  }
  await optimizer.dispose();
  await program.dispose();
});
