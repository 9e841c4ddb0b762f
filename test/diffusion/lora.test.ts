/** @file LoRAs at inference: the pictures of diffusers with the same files, scales, sessions, annealing, independence of the batch. */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { DiffusionRequest } from "#laurel/diffusion/request";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { annealedWeight } from "#laurel/diffusion/lora";
import { type Device, openDevice } from "#laurel/runtime/device";

const DEMO = fileURLToPath(new URL("../../models/demo/stable-diffusion", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../fixtures/lora/", import.meta.url));

interface Case {
  loras: [file: string, scale: number][];
  anneal?: number;
  rgb: string;
}
const fixture = JSON.parse(await readFile(`${FIXTURES}images.json`, "utf8")) as {
  request: { prompt: string; seed: number; steps: number; guidance: number };
  cases: Case[];
};
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));
const ofCase = ({ loras, anneal }: Case): DiffusionRequest => ({
  ...fixture.request,
  loras: loras.map(([file, scale]) => ({ path: FIXTURES + file, scale })),
  loraAnneal: anneal,
});
const name = ({ loras, anneal }: Case): string =>
  (loras.map(([file, scale]) => `${file} at ${scale}`).join(" and ") || "no LoRA") +
  (anneal === undefined ? "" : `, annealed until ${anneal}`);

let device: Device;
let model: StableDiffusion;
beforeAll(async () => {
  device = openDevice();
  model = await openStableDiffusion(DEMO, device);
});
afterAll(async () => {
  await device.close();
});

async function draw(request: DiffusionRequest): Promise<Uint8Array[]> {
  const pictures: Uint8Array[] = [];
  for await (const group of model.generate(request)) pictures.push(...group.images.map(({ image }) => image.data));
  return pictures;
}

/** Mean |difference| in units of 1/255. */
function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

describe("the picture of diffusers", () => {
  test("the fixture can tell: every case has a picture of its own", () => {
    const pictures = fixture.cases.map(({ rgb }) => bytes(rgb));
    pictures.forEach((picture, i) => {
      // above what a case may differ from its own
      for (const other of pictures.slice(0, i)) expect(meanDifference(picture, other)).toBeGreaterThan(0.2);
    });
  });

  test.each(fixture.cases.map((one) => [name(one), one] as const))("%s", async (_, one) => {
    const [picture] = await draw(ofCase(one));
    expect(meanDifference(picture!, bytes(one.rgb))).toBeLessThanOrEqual(0.1); // required: 1
  });
});

describe("a LoRA at inference", () => {
  const attention = { path: `${FIXTURES}attention.safetensors` };
  const conv = { path: `${FIXTURES}conv.safetensors` };
  const ask: DiffusionRequest = { ...fixture.request, steps: 3 };

  test("at scale 0 it leaves the base's picture as it is, bit for bit", async () => {
    expect(await draw({ ...ask, loras: [{ ...attention, scale: 0 }] })).toEqual(await draw(ask));
  });

  test.each([1, 2, 3])("in groups of %i every picture is the same, bit for bit", async (batch) => {
    const loras = [attention, conv];
    const four = await draw({ ...ask, count: 4, batch: 4, loras });
    expect(await draw({ ...ask, count: 4, batch, loras })).toEqual(four);
    expect(new Set(four.map(String)).size).toBe(4);
  });

  test("a change of scale compiles nothing; another set of LoRAs compiles one program of each network it changes", async () => {
    const compiled = async (request: DiffusionRequest): Promise<number> => {
      const compile = device.compile.bind(device);
      let count = 0;
      device.compile = (...given) => {
        count++;
        return compile(...given);
      };
      await draw(request);
      device.compile = compile;
      return count;
    };
    await draw({ ...ask, loras: [attention] });
    expect(await compiled({ ...ask, loras: [{ ...attention, scale: 0.3 }] })).toBe(0);
    expect(await compiled({ ...ask, loras: [{ ...attention, scale: 0.8 }], loraAnneal: 0.5 })).toBe(0);
    // denoiser and text encoder
    expect(await compiled({ ...ask, loras: [attention, attention] })).toBe(2);
    await draw(ask);
    // it changes the denoiser alone
    expect(await compiled({ ...ask, loras: [conv] })).toBe(1);
  });

  test("the same LoRA twice is it at the sum of the scales", async () => {
    const [twice] = await draw({
      ...ask,
      loras: [
        { ...conv, scale: 0.25 },
        { ...conv, scale: 0.5 },
      ],
    });
    const [once] = await draw({ ...ask, loras: [{ ...conv, scale: 0.75 }] });
    expect(meanDifference(twice!, once!)).toBeLessThan(0.1);
  });

  test("annealed states at different steps are as they are alone", async () => {
    const request = { ...ask, count: 2, loras: [attention], loraAnneal: 1 };
    const { trajectory, states } = await model.begin(request);
    const [first, second] = states;
    const [ahead] = await model.step(trajectory, [first!]);
    const together = await model.step(trajectory, [ahead!, second!]);
    const [aheadAlone] = await model.step(trajectory, [ahead!]);
    const [secondAlone] = await model.step(trajectory, [second!]);
    expect(together).toEqual([aheadAlone, secondAlone]);
  });

  test("it changes what is drawn from a picture too", async () => {
    const [init] = await draw(ask);
    const image = { width: 64, height: 64, data: init! };
    const from = { ...ask, init: image, strength: 0.7 };
    const [plain] = await draw(from);
    const [tuned] = await draw({ ...from, loras: [attention] });
    const mask = { width: 64, height: 64, data: new Uint8Array(64 * 64 * 3).fill(255) };
    const [repainted] = await draw({ ...from, mask, loras: [attention] });
    expect(meanDifference(plain!, tuned!)).toBeGreaterThan(1);
    expect(meanDifference(repainted!, plain!)).toBeGreaterThan(1);
  });
});

test("annealing begins with the base and ends with the whole scale", () => {
  expect([999, 799.2, 499.5, 0].map((t) => annealedWeight(t, 1000, 0.5))).toEqual([0, expect.closeTo(0.4, 6), 1, 1]);
  expect(annealedWeight(0, 1000, 1)).toBe(1);
  expect(annealedWeight(999, 1000, undefined)).toBe(1);
});
