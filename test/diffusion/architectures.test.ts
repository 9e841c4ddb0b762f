/** @file Whole runs of Stable Diffusion XL, 2.x and the turbo models: the pictures of diffusers, what the folders decide, what is refused. */

import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { type Device, openDevice } from "#laurel/runtime/device";
import { assembled, type Changes, removeFolders } from "./tiny-model.js";

interface Case {
  model: "sdxl" | "sdxl-turbo" | "sd2" | "sd-turbo";
  sampler: string;
  steps: number;
  guidance: number;
  prompt: string;
  negative?: string;
  clip_skip?: number;
  changes?: Changes;
  pipeline?: "Img2Img" | "Inpaint";
  strength?: number;
  seed: number;
  width: number;
  height: number;
  rgb: string;
  latents: string;
}

const FIXTURE = JSON.parse(
  await readFile(new URL("../fixtures/diffusion/architectures.json", import.meta.url), "utf8"),
) as { schedulers: Record<Case["model"], object>; init: string; mask: string; cases: Case[] };
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));
const picture = (data: Uint8Array) => ({ width: 32, height: 32, data });

let device: Device;
const open = new Map<string, Promise<StableDiffusion>>();

/** The model of a case; cases that change nothing share one. */
function modelOf(name: Case["model"], changes: Changes = {}): Promise<StableDiffusion> {
  const key = JSON.stringify([name, changes]);
  const folder = name.startsWith("sdxl") ? "tiny-sdxl" : "tiny-sd2";
  const scheduler = FIXTURE.schedulers[name];
  const file = "scheduler/scheduler_config.json";
  const all = { ...changes, [file]: { ...scheduler, ...changes[file] } };
  const found = open.get(key) ?? assembled(folder, all).then((path) => openStableDiffusion(path, device));
  open.set(key, found);
  return found;
}

/** Mean |difference| in units of 1/255. */
function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

beforeAll(() => {
  device = openDevice({ threads: 1 });
});
afterAll(async () => {
  await device.close();
  await removeFolders();
});

describe("the same seed gives the picture of diffusers", () => {
  test("the fixture can tell: its pictures differ from case to case", () => {
    const pictures = FIXTURE.cases.filter(({ width }) => width === 32).map(({ rgb }) => bytes(rgb));
    pictures.forEach((one, i) => {
      for (const other of pictures.slice(0, i)) expect(meanDifference(one, other)).toBeGreaterThan(4);
    });
  });

  test.each(
    FIXTURE.cases.map((one) => [`${one.model} ${one.pipeline ?? ""} ${one.sampler} ${one.seed}`, one] as const),
  )("%s", async (_, one) => {
    const model = await modelOf(one.model, one.changes);
    const { trajectory, states: begun } = await model.begin({
      prompt: one.prompt,
      negativePrompt: one.negative,
      sampler: one.sampler,
      steps: one.steps,
      guidance: one.guidance,
      clipSkip: one.clip_skip,
      seed: one.seed,
      width: one.width,
      height: one.height,
      init: one.pipeline === undefined ? undefined : picture(bytes(FIXTURE.init)),
      mask: one.pipeline === "Inpaint" ? picture(bytes(FIXTURE.mask)) : undefined,
      strength: one.strength,
    });
    let states = begun;
    while (states[0]!.stepIndex < trajectory.sampler.timesteps.length) states = await model.step(trajectory, states);
    const expected = new Float32Array(bytes(one.latents).buffer);
    const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const error = expected.reduce((most, v, j) => Math.max(most, Math.abs(v - states[0]!.latents[j]!)), 0) / scale;
    // the noise itself agrees to 2e-6 with torch's; errors grow with guidance from step to step
    expect(error).toBeLessThanOrEqual(2e-5);
    const [image] = await model.decode(trajectory, states);
    expect([image!.width, image!.height]).toEqual([one.width, one.height]);
    expect(meanDifference(image!.data, bytes(one.rgb))).toBeLessThanOrEqual(0.1); // required: 1
  });
});
