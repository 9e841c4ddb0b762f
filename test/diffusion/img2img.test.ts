/** @file From a picture instead of from noise: the pictures of diffusers' img2img and inpainting pipelines, and what goes wrong. */

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toEncoderInput, toMask } from "#laurel/diffusion/pixels";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { decodeRgb } from "#laurel/image/decode";
import { resizeLanczos } from "#laurel/image/resize";
import type { RgbImage } from "#laurel/image/types";
import { type Device, openDevice } from "#laurel/runtime/device";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { openSafetensors, saveSafetensors } from "#laurel/weights/safetensors";

interface Case {
  pipeline: "img2img" | "inpaint" | "inpaint-unet";
  sampler: string;
  steps: number;
  strength: number;
  guidance: number;
  eta?: number;
  prompt: string;
  negative?: string;
  clip_sample?: boolean;
  seed: number;
  evaluations: number;
  rgb: string;
  latents: string;
}

interface Fixture {
  width: number;
  height: number;
  preprocessed: { pixels: string; mask: string; cells: string; mean: string; logvar: string };
  conv_in: string;
  lanczos: { width: number; height: number; rgb: string }[];
  cases: Case[];
}

const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const FOLDER = join(FIXTURES, "models", "tiny-sd");
const GOLDEN = JSON.parse(await readFile(join(FIXTURES, "diffusion", "img2img.json"), "utf8")) as Fixture;
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"));
const floats = (text: string): Float32Array => new Float32Array(bytes(text).buffer);
const picture = async (name: string): Promise<RgbImage> =>
  decodeRgb(await readFile(join(FIXTURES, "diffusion", name)), name);

let device: Device;
let model: StableDiffusion;
let init: RgbImage;
let mask: RgbImage;
const temporary: string[] = [];

beforeAll(async () => {
  device = openDevice();
  model = await openStableDiffusion(FOLDER, device);
  [init, mask] = await Promise.all([picture("init.png"), picture("mask.png")]);
});
afterAll(async () => {
  await device.close();
  await Promise.all(temporary.map((folder) => rm(folder, { recursive: true })));
});

/** A copy of the model folder, its JSON files changed. */
async function changed(changes: Readonly<Record<string, object>>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-img2img-"));
  temporary.push(folder);
  await cp(FOLDER, folder, { recursive: true });
  for (const [file, change] of Object.entries(changes)) {
    const json = JSON.parse(await readFile(join(folder, file), "utf8")) as object;
    await writeFile(join(folder, file), JSON.stringify({ ...json, ...change }));
  }
  return folder;
}

/** The folder of an inpainting model: its denoiser reads five channels more. */
async function inpaintingFolder(scheduler: object = {}): Promise<string> {
  const folder = await changed({
    "model_index.json": { _class_name: "StableDiffusionInpaintPipeline" },
    "unet/config.json": { in_channels: 9 },
    "scheduler/scheduler_config.json": scheduler,
  });
  const path = join(folder, "unet", "diffusion_pytorch_model.safetensors");
  const source = await openSafetensors(path);
  const tensors = new Map<string, Tensor>();
  for (const name of source.entries.keys()) tensors.set(name, await source.read(name));
  const narrow = tensors.get("conv_in.weight")!;
  const [outputs = 0, inputs = 0] = narrow.shape;
  const extra = floats(GOLDEN.conv_in);
  const wide = new Float32Array(outputs * 9 * 9);
  for (let output = 0; output < outputs; output++) {
    wide.set((narrow.data as Float32Array).subarray(output * inputs * 9, (output + 1) * inputs * 9), output * 81);
    wide.set(extra.subarray(output * 45, (output + 1) * 45), output * 81 + inputs * 9);
  }
  tensors.set("conv_in.weight", float32([outputs, 9, 3, 3], wide));
  await saveSafetensors(path, tensors);
  return folder;
}

/** Largest |difference| as a share of the largest |expected|. */
function relative(actual: Float32Array, expected: Float32Array): number {
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0) / scale;
}

/** Mean |difference| in units of 1/255. */
function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

describe("what enters the autoencoder", () => {
  const { width, height, preprocessed, lanczos } = GOLDEN;

  test.each(lanczos.map((one) => [`${one.width} x ${one.height}`, one] as const))(
    "Lanczos to %s is Pillow's",
    (_, one) => {
      expect(resizeLanczos(init, one.width, one.height).data).toEqual(bytes(one.rgb));
    },
  );

  test("the picture's pixels are diffusers', every bit", () => {
    expect(toEncoderInput(init, width, height)).toEqual(floats(preprocessed.pixels));
  });

  test("the mask is binarised as by diffusers, and taken over the latents alike", async () => {
    const expected = bytes(preprocessed.mask);
    expect(toMask(mask, width, height)).toEqual(expected);
    expect(new Set(expected).size).toBe(2);
    const { trajectory } = await model.begin({ prompt: "a", seed: 1, steps: 2, init, mask });
    expect(Uint8Array.from(trajectory.init!.repaint!.mask)).toEqual(bytes(preprocessed.cells));
  });

  test("mean and deviation of the encoding are diffusers'", async () => {
    const { trajectory } = await model.begin({ prompt: "a", seed: 1, steps: 2, init });
    const { mean, deviation } = trajectory.init!.picture!;
    expect(relative(mean, floats(preprocessed.mean))).toBeLessThanOrEqual(1e-5);
    const expected = floats(preprocessed.logvar).map((value) => Math.exp(value / 2));
    expect(relative(deviation, expected)).toBeLessThanOrEqual(1e-5);
  });
});

describe("the same seed gives the picture of diffusers", () => {
  const opened = new Map<string, Promise<StableDiffusion>>();
  const subject = async ({ pipeline, clip_sample }: Case): Promise<StableDiffusion> => {
    if (pipeline !== "inpaint-unet" && clip_sample === undefined) return model;
    const key = `${pipeline} ${clip_sample}`;
    const scheduler = clip_sample === undefined ? {} : { clip_sample };
    const folder = (): Promise<string> =>
      pipeline === "inpaint-unet"
        ? inpaintingFolder(scheduler)
        : changed({ "scheduler/scheduler_config.json": scheduler });
    const one = opened.get(key) ?? folder().then((path) => openStableDiffusion(path, device));
    opened.set(key, one);
    return one;
  };
  const request = (one: Case) => ({
    prompt: one.prompt,
    negativePrompt: one.negative,
    sampler: one.sampler,
    steps: one.steps,
    guidance: one.guidance,
    eta: one.eta,
    seed: one.seed,
    strength: one.strength,
    init,
    mask: one.pipeline === "img2img" ? undefined : mask,
  });

  test.each(
    GOLDEN.cases.map(
      (one) => [`${one.pipeline}, ${one.sampler}, strength ${one.strength}, guidance ${one.guidance}`, one] as const,
    ),
  )("%s", async (_, one) => {
    const diffusion = await subject(one);
    const { trajectory, states: begun } = await diffusion.begin(request(one));
    let states = begun;
    while (states[0]!.stepIndex < trajectory.sampler.timesteps.length)
      states = await diffusion.step(trajectory, states);
    const [image] = await diffusion.decode(trajectory, states);
    // the noise itself agrees to 2e-6 with torch's
    expect(relative(states[0]!.latents, floats(one.latents))).toBeLessThanOrEqual(1e-5);
    expect([image!.width, image!.height]).toEqual([GOLDEN.width, GOLDEN.height]);
    expect(meanDifference(image!.data, bytes(one.rgb))).toBeLessThanOrEqual(0.1);
    expect(states[0]!.evaluations).toBe(one.evaluations * (one.guidance > 1 ? 2 : 1));
  });
});

describe("one request's candidates", () => {
  const ask = { prompt: "a red circle", seed: 40, count: 4, steps: 6, sampler: "ddpm", guidance: 3, strength: 0.5 };
  const draw = async (change: object): Promise<{ seed: number; data: Uint8Array; evaluations: number }[]> => {
    const images = [];
    for await (const group of model.generate({ ...ask, ...change }))
      for (const { seed, image, evaluations } of group.images) images.push({ seed, data: image.data, evaluations });
    return images;
  };

  test.each([["img2img"], ["inpainting"]])(
    "%s: the same in every group, and only steps taken are counted",
    async (kind) => {
      const pictures = { init, mask: kind === "inpainting" ? mask : undefined };
      const together = await draw({ ...pictures, batch: 4 });
      expect(together.map(({ evaluations }) => evaluations)).toEqual([6, 6, 6, 6]); // 3 of 6 steps, guided
      expect(await draw({ ...pictures, batch: 3 })).toEqual(together);
      expect(await draw({ ...pictures, seed: 42, count: 1 })).toEqual([together[2]]);
      expect(new Set(together.map(({ data }) => Buffer.from(data).toString("base64"))).size).toBe(4);
    },
  );

  test("progress counts the steps that are taken", async () => {
    const told: number[] = [];
    const onProgress = (one: { step: number; steps: number }): void => void told.push(one.step, one.steps);
    for await (const group of model.generate({ ...ask, init, count: 1 }, { onProgress }))
      expect(group.images).toHaveLength(1);
    expect(told).toEqual([1, 3, 2, 3, 3, 3]);
  });

  test("a picture is encoded once, another one anew", async () => {
    const encoded = async (change: object) =>
      (await model.begin({ ...ask, count: 1, init, ...change })).trajectory.init;
    const first = await encoded({});
    expect(await encoded({ strength: 0.7, prompt: "a blue square" })).toBe(first);
    const other = { ...init, data: init.data.map((value) => 255 - value) };
    expect((await encoded({ init: other }))!.picture).not.toEqual(first!.picture);
    expect((await encoded({ width: 40 }))!.picture!.mean).toHaveLength((4 * 40 * 40) / 16);
  });

  test("what is kept is kept: outside the mask a repainted picture is the decoded original", async () => {
    const all = (grey: number): RgbImage => ({ width: 48, height: 40, data: new Uint8Array(48 * 40 * 3).fill(grey) });
    const request = { ...ask, count: 1, init };
    const { trajectory, states } = await model.begin({ ...request, mask: all(127) });
    expect(trajectory.warnings).toEqual([
      "init: sides are multiples of 4 pixels; the picture of 50 x 43 is resized to 48 x 40",
      "mask: nothing is repainted, since no part of it is brighter than medium grey",
    ]);
    const [kept] = await model.step(trajectory, states);
    const [preview] = await model.preview(trajectory, [kept!]);
    let [last] = [kept!];
    while (last.stepIndex < 3) [last] = (await model.step(trajectory, [last])) as [typeof last];
    expect(last.latents).toEqual(kept!.init!.picture);
    const [image] = await model.decode(trajectory, [last]);
    expect(preview).toEqual(image);
    const {
      trajectory: free,
      states: [start],
    } = await model.begin({ ...request, mask: all(128) });
    const [repainted] = await model.step(free, [start!]);
    expect(repainted!.latents).not.toEqual(kept!.latents);
  });
});

describe("requests that cannot be", () => {
  const ask = { prompt: "a", seed: 0, steps: 10 };
  test.each([
    [[], { strength: 0.5 }, "strength: expected a picture (init) to start from, got none"],
    [["mask"], {}, "mask: expected a picture (init) that it is a mask of, got none"],
    [["init"], { strength: 0 }, "strength: expected a number above 0, up to 1, got 0"],
    [["init"], { strength: 1.01 }, "strength: expected a number above 0, up to 1, got 1.01"],
    [["init"], { strength: 0.09 }, "strength: expected at least 1/10, so that one of 10 steps is taken, got 0.09"],
    [["init"], { width: 47 }, "width: expected a multiple of 4"],
  ])("with %j, %j", async (names, wrong, message) => {
    const given = { init: names.includes("init") ? init : undefined, mask: names.includes("mask") ? mask : undefined };
    await expect(model.begin({ ...ask, ...given, ...wrong })).rejects.toThrow(message);
  });

  test("an inpainting model draws nothing without a picture and a mask", async () => {
    const inpainter = await openStableDiffusion(await inpaintingFolder(), device);
    await expect(inpainter.begin(ask)).rejects.toThrow(
      "init: expected a picture and a mask, since this model repaints, got none",
    );
    await expect(inpainter.begin({ ...ask, init })).rejects.toThrow(
      "mask: expected one, since this model repaints, got none",
    );
  });

  test("an autoencoder without its encoder still draws from prompts, and says what is missing otherwise", async () => {
    const folder = await changed({});
    const path = join(folder, "vae", "diffusion_pytorch_model.safetensors");
    const source = await openSafetensors(path);
    const tensors = new Map<string, Tensor>();
    for (const name of source.entries.keys())
      if (!/^(encoder|quant_conv)\./.test(name)) tensors.set(name, await source.read(name));
    await saveSafetensors(path, tensors);
    const opened = await openStableDiffusion(folder, device);
    expect((await opened.begin({ ...ask, count: 1 })).states).toHaveLength(1);
    await expect(opened.begin({ ...ask, init })).rejects.toThrow(/AutoencoderKL: .*missing.*encoder\.conv_in\.bias/);
  });

  test("cancelling does not spoil the encoding for the next request", async () => {
    const other = { ...init, data: init.data.map((value) => value >> 1) };
    const controller = new AbortController();
    const begun = model.begin({ ...ask, init: other }, { signal: controller.signal });
    controller.abort();
    await expect(begun).rejects.toThrow(/cancelled/);
    expect((await model.begin({ ...ask, init: other })).states).toHaveLength(1);
  });
});
