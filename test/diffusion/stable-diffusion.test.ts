/** @file Whole runs of Stable Diffusion: the pictures of diffusers, independence of the batch, cancelling, errors. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CancelledError } from "#laurel/errors";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { type Device, openDevice } from "#laurel/runtime/device";
import { changed, distilledFolder, FOLDER, removeFolders } from "./tiny-model.js";

interface Case {
  sampler: string;
  steps: number;
  guidance: number;
  eta?: number;
  prompt: string;
  negative?: string;
  prediction?: string;
  outdated?: object;
  distilled?: boolean;
  seed: number;
  width?: number;
  height?: number;
  images: { width: number; height: number; rgb: string; latents: string }[];
}

const { cases: CASES } = JSON.parse(
  await readFile(new URL("../fixtures/diffusion/images.json", import.meta.url), "utf8"),
) as { cases: Case[] };
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));

let device: Device;
let model: StableDiffusion;

beforeAll(async () => {
  device = openDevice();
  model = await openStableDiffusion(FOLDER, device);
});
afterAll(async () => {
  await device.close();
  await removeFolders();
});

const request = (one: Case) => ({
  prompt: one.prompt,
  negativePrompt: one.negative,
  sampler: one.sampler,
  steps: one.steps,
  guidance: one.guidance,
  eta: one.eta,
  seed: one.seed,
  count: one.images.length,
  width: one.width,
  height: one.height,
});

/** Evaluations of the denoiser: Heun has two a step but one in the last, PNDM one more at its start; guidance doubles them. */
function evaluationsOf({ sampler, steps, guidance, distilled = false }: Case): number {
  const entries = sampler.startsWith("heun") ? 2 * steps - 1 : sampler === "pndm" ? steps + 1 : steps;
  return entries * (guidance > 1 && !distilled ? 2 : 1);
}

/** Mean |difference| in units of 1/255. */
function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

describe("the same seed gives the picture of diffusers", () => {
  let velocity: StableDiffusion;
  let outdated: StableDiffusion;
  let distilled: StableDiffusion;
  const withScheduler = async (fields: object | undefined): Promise<StableDiffusion> =>
    openStableDiffusion(await changed("scheduler/scheduler_config.json", (json) => ({ ...json, ...fields })), device);
  beforeAll(async () => {
    velocity = await withScheduler({ prediction_type: "v_prediction" });
    distilled = await openStableDiffusion(await distilledFolder(), device);
    outdated = await withScheduler(CASES.find((one) => one.outdated !== undefined)?.outdated);
  });

  test("the fixture can tell: its pictures differ from seed to seed and from case to case", () => {
    for (const one of CASES) {
      const [first, second] = one.images.map((image) => bytes(image.rgb));
      expect(meanDifference(first!, second!)).toBeGreaterThan(8);
    }
  });

  test.each(CASES.map((one) => [`${one.sampler}, guidance ${one.guidance}, seed ${one.seed}`, one] as const))(
    "%s",
    async (_, one) => {
      const special = one.prediction !== undefined ? velocity : one.outdated !== undefined ? outdated : model;
      const subject = one.distilled === true ? distilled : special;
      const { trajectory, states: begun } = await subject.begin(request(one));
      let states = begun;
      for (let step = 0; step < trajectory.sampler.timesteps.length; step++)
        states = await subject.step(trajectory, states);
      const images = await subject.decode(trajectory, states);
      one.images.forEach((expected, i) => {
        const latents = new Float32Array(bytes(expected.latents).buffer);
        const scale = latents.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        const error = latents.reduce((most, value, j) => Math.max(most, Math.abs(value - states[i]!.latents[j]!)), 0);
        // the noise itself agrees to 2e-6 with torch's
        expect(error / scale).toBeLessThanOrEqual(1e-5);
        expect([images[i]!.width, images[i]!.height]).toEqual([expected.width, expected.height]);
        const difference = meanDifference(images[i]!.data, bytes(expected.rgb));
        expect(difference).toBeLessThanOrEqual(0.1); // required: 1
        expect(states[i]!.evaluations).toBe(evaluationsOf(one));
      });
    },
  );
});

describe("generate", () => {
  const ask = { prompt: "a red circle", seed: 40, count: 5, steps: 4, sampler: "ddpm", guidance: 3 };

  test.each([1, 2, 3, 5, 8])("in groups of %i every picture is the same, bit for bit", async (batch) => {
    const images: Uint8Array[] = [];
    const sizes: number[] = [];
    for await (const group of model.generate({ ...ask, batch })) {
      sizes.push(group.images.length);
      for (const { seed, image, evaluations } of group.images) {
        expect(seed).toBe(40 + images.length);
        expect(evaluations).toBe(8);
        images.push(image.data);
      }
    }
    expect(sizes).toEqual(Array.from({ length: Math.ceil(5 / batch) }, (_, i) => Math.min(batch, 5 - i * batch)));
    for await (const group of model.generate({ ...ask, seed: 42, count: 1 })) {
      expect(images[2]).toEqual(group.images[0]!.image.data);
    }
  });

  test("a thread of states at different steps gives the same as one in step", async () => {
    const { trajectory, states } = await model.begin({ ...ask, count: 2 });
    const [ahead] = await model.step(trajectory, [states[0]!]);
    const together = await model.step(trajectory, [ahead!, states[1]!]);
    const [alone] = await model.step(trajectory, [ahead!]);
    expect(together[0]!.latents).toEqual(alone!.latents);
    expect(together.map((state) => state.stepIndex)).toEqual([2, 1]);
    expect(together.map((state) => state.evaluations)).toEqual([4, 2]);
  });

  test("progress is told once a step, with the number of candidates", async () => {
    const told: unknown[] = [];
    for await (const group of model.generate(
      { ...ask, count: 3, batch: 2, steps: 2 },
      { onProgress: (one) => told.push(one) },
    )) {
      expect(group.warnings).toEqual([]);
    }
    expect(told).toEqual([
      { step: 1, steps: 2, candidates: 2 },
      { step: 2, steps: 2, candidates: 2 },
      { step: 1, steps: 2, candidates: 1 },
      { step: 2, steps: 2, candidates: 1 },
    ]);
  });

  test("progress counts the sampler's evaluations, and the picture says what it cost", async () => {
    const told: unknown[] = [];
    const request = { ...ask, count: 1, steps: 2, sampler: "heun" };
    for await (const { images } of model.generate(request, { onProgress: (one) => told.push(one) })) {
      expect(images.map(({ evaluations }) => evaluations)).toEqual([6]);
    }
    expect(told).toEqual([1, 2, 3].map((step) => ({ step, steps: 3, candidates: 1 })));
  });

  test("an aborted signal ends it with CancelledError, and the model works on", async () => {
    const controller = new AbortController();
    const run = async (): Promise<void> => {
      for await (const group of model.generate(
        { ...ask, steps: 50 },
        { signal: controller.signal, onProgress: () => controller.abort() },
      )) {
        expect(group).toBeUndefined();
      }
    };
    await expect(run()).rejects.toBeInstanceOf(CancelledError);
    await expect(model.begin(ask, { signal: controller.signal })).rejects.toBeInstanceOf(CancelledError);
    const { states } = await model.begin(ask);
    expect(states).toHaveLength(5);
  });

  test("a prompt that does not fit is reported with what was cut", async () => {
    const long = `${"a red circle above ".repeat(8)}a blue square`;
    const { trajectory } = await model.begin({ ...ask, prompt: long, negativePrompt: long });
    expect(trajectory.warnings).toHaveLength(2);
    expect(trajectory.warnings[0]).toMatch(/^negative prompt: .*not read: ".*a blue square"$/);
    expect(trajectory.warnings[1]).toMatch(/^prompt: /);
  });

  test("what has no effect without guidance is said", () => {
    const { warnings } = model.resolve({ ...ask, guidance: 0.5, negativePrompt: "a square" });
    expect(warnings).toEqual([
      "negative prompt: it has no effect without guidance (guidance 0.5; above 1 it has)",
      "guidance 0.5: values up to 1 all follow the prompt alone",
    ]);
  });
});

describe("search inside a trajectory", () => {
  const ask = { prompt: "a red circle", seed: 1, steps: 3, sampler: "ddpm", guidance: 1 };

  test("a fork with another stream parts; with the same state it does not", async () => {
    const { trajectory, states } = await model.begin(ask);
    const [first] = await model.step(trajectory, states);
    const [same, other, again] = await model.step(trajectory, [first!, model.fork(first!, 99), first!]);
    expect(same!.latents).toEqual(again!.latents);
    expect(other!.latents).not.toEqual(same!.latents);
    expect(other!.clean).toEqual(same!.clean);
    expect(other!.evaluations).toBe(2);
  });

  test("previews exist from the first step on, and a finished state takes no step", async () => {
    const { trajectory, states } = await model.begin({ ...ask, sampler: "ddim", seed: 3 });
    await expect(model.preview(trajectory, states)).rejects.toThrow(
      "preview: expected a state after its first step, got seed 3 before it",
    );
    let now = await model.step(trajectory, states);
    const [preview] = await model.preview(trajectory, now);
    for (let step = 1; step < 3; step++) now = await model.step(trajectory, now);
    expect([preview!.width, preview!.height, preview!.data.length]).toEqual([64, 64, 64 * 64 * 3]);
    await expect(model.step(trajectory, now)).rejects.toThrow(
      "step: expected a state before its end, got step 3 of seed 3",
    );
  });
});

describe("requests out of range", () => {
  const ask = { prompt: "a", seed: 0 };
  test.each([
    [{ seed: -1 }, "seed: expected a whole number from 0 to 4294967294, got -1"],
    [
      { seed: 4294967294, count: 2 },
      "seed: expected at most 4294967293, so that 2 candidates have a seed each, got 4294967294",
    ],
    [{ count: 0 }, "count: expected a whole number from 1"],
    [{ batch: 1.5 }, "batch: expected a whole number from 1"],
    [{ guidance: Number.NaN }, "guidance: expected a number from 0 to 100, got NaN"],
    [{ width: 66 }, "width: expected a multiple of 4 from 4 to 2048 pixels, got 66"],
    [{ height: 0 }, "height: expected a multiple of 4 from 4 to 2048 pixels, got 0"],
    [{ sampler: "brush" }, /^sampler: expected one of ddpm, ddim, .*, got brush$/],
    [{ steps: 0 }, "steps: expected a whole number from 1 to 1000, got 0"],
    [{ eta: 0.5 }, /^eta: expected 0 for sampler pndm/],
  ])("%j", async (wrong, message) => {
    await expect(model.begin({ ...ask, ...wrong })).rejects.toThrow(message);
  });
});
