/** @file Folders of ONNX files: the pictures of the weights they were made from, whatever types they take, also behind symbolic links; what they refuse. */

import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readModel } from "#laurel/diffusion/read-model";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { readOnnxFile } from "#laurel/onnx/read-ports";
import { type Device, openDevice } from "#laurel/runtime/device";
import { openTunedModel } from "#laurel/training/finetune/tuned-model";
import { type ExportStyle, exportToOnnx } from "./onnx-export.js";
import { assembled, FOLDER, removeFolders } from "./tiny-model.js";

const STYLES: Readonly<Record<string, ExportStyle>> = {
  "scalar int64 timestep, int64 ids": { ids: "int64", timestep: { dtype: "int64", shape: [] }, dtype: "float32" },
  "[1] float timestep, int32 ids": { ids: "int32", timestep: { dtype: "float32", shape: [1] }, dtype: "float32" },
  "float16, [1] int64 timestep": { ids: "int32", timestep: { dtype: "int64", shape: [1] }, dtype: "float16" },
};
const PLAIN = STYLES["scalar int64 timestep, int64 ids"]!;

let device: Device;
beforeAll(() => {
  device = openDevice({ threads: 1 });
});
afterAll(async () => {
  await device.close();
  await removeFolders();
});

const ask = { prompt: "a red circle", negativePrompt: "a square", seed: 5, count: 2, steps: 3, guidance: 4 };
const init = { width: 32, height: 32, data: Uint8Array.from({ length: 3072 }, (_, i) => (i * 37) % 251) };

async function pictures(model: StableDiffusion, request: object): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  for await (const { images } of model.generate({ ...ask, ...request }))
    found.push(...images.map(({ image }) => image.data));
  return found;
}

function meanDifference(a: Uint8Array, b: Uint8Array): number {
  return a.reduce((sum, value, i) => sum + Math.abs(value - b[i]!), 0) / a.length;
}

/** Largest mean difference of two models' pictures, in units of 1/255. */
async function difference(a: StableDiffusion, b: StableDiffusion, request: object): Promise<number> {
  const [left, right] = [await pictures(a, request), await pictures(b, request)];
  expect(meanDifference(left[0]!, left[1]!)).toBeGreaterThan(4);
  return Math.max(...left.map((one, i) => meanDifference(one, right[i]!)));
}

describe("an export to ONNX", () => {
  // whole timesteps, as the files read them
  const sampler = { sampler: "ddim" };

  test.each([
    ["tiny-sd2", "[1] float timestep, int32 ids"],
    ["tiny-sd2", "float16, [1] int64 timestep"],
    ["tiny-sdxl", "scalar int64 timestep, int64 ids"],
  ] as const)("%s, %s: draws what its weights draw", async (name, kind) => {
    const style = STYLES[kind]!;
    const weights = await openStableDiffusion(await assembled(name), device);
    const folder = await assembled(name);
    await exportToOnnx(folder, style);
    const exported = await openStableDiffusion(folder, device);
    expect(exported.warnings.some((one) => one.includes("whole timesteps"))).toBe(style.timestep.dtype === "int64");
    // half precision rounds each step; elsewhere only the order of sums differs
    const bound = style.dtype === "float16" ? 1 : 0.05;
    expect(await difference(weights, exported, sampler)).toBeLessThanOrEqual(bound);
    expect(await difference(weights, exported, { ...sampler, init, strength: 0.7, batch: 1 })).toBeLessThanOrEqual(
      bound,
    );
    await exported.dispose();
    await weights.dispose();
  });
});

describe("a folder of ONNX files", () => {
  let folder: string;
  let model: StableDiffusion;
  beforeAll(async () => {
    folder = await assembled("tiny-sd2");
    await exportToOnnx(folder, PLAIN);
    model = await openStableDiffusion(folder, device);
  });

  test("says what its files take, without reading their weights", async () => {
    const { inputs, outputs, external } = await readOnnxFile(join(folder, "unet", "model.onnx"));
    expect(external).toEqual(["model.onnx_data"]);
    expect(inputs.get("timestep")).toEqual({ dtype: "int64", shape: [] });
    expect(inputs.get("sample")).toEqual({ dtype: "float32", shape: ["sample_0", 4, 8, 8] });
    expect([...outputs.keys()]).toEqual(["out_sample"]);
  });

  test("draws from behind the symbolic links of the Hugging Face cache", async () => {
    const linked = await assembled("tiny-sd2");
    await exportToOnnx(linked, PLAIN);
    const blobs = join(linked, "..", `blobs-${process.pid}-${Date.now()}`);
    await mkdir(blobs);
    for (const part of ["unet", "vae_decoder", "text_encoder"]) {
      for (const file of (await readdir(join(linked, part))).filter((one) => one.startsWith("model.onnx"))) {
        const blob = join(blobs, `${part}-${file.length}`);
        await rename(join(linked, part, file), blob);
        await symlink(relative(join(linked, part), blob), join(linked, part, file));
      }
    }
    const exported = await openStableDiffusion(linked, device);
    expect(await difference(model, exported, { sampler: "ddim" })).toBe(0);
    await exported.dispose();
    await rm(blobs, { recursive: true });
  });

  test("states at different timesteps step as they do alone", async () => {
    const { trajectory, states } = await model.begin({ ...ask, sampler: "ddim" });
    const [ahead] = await model.step(trajectory, [states[0]!]);
    const together = await model.step(trajectory, [ahead!, states[1]!]);
    const [alone] = await model.step(trajectory, [ahead!]);
    const [other] = await model.step(trajectory, [states[1]!]);
    expect(together.map(({ latents }) => latents)).toEqual([alone!.latents, other!.latents]);
  });

  test("is not trained, merged with LoRAs, or given what changes its networks", async () => {
    const train = { kind: "lora", rank: 2, alpha: null, targets: ["to_q"], textEncoder: null };
    await expect(openTunedModel(folder, { train, seed: 0 } as never)).rejects.toThrow(
      /expected weights .* got an export to ONNX: it draws pictures, but cannot be trained/,
    );
    await expect((await readModel(folder)).openWeights("unet")).rejects.toThrow(
      /cannot be trained, merged with LoRAs, or differentiated/,
    );
    const refused = "expected none, since this model's networks cannot be changed, got 1";
    await expect(model.begin({ ...ask, loras: [{ path: "a.safetensors" }] })).rejects.toThrow(`loras: ${refused}`);
    await expect(model.begin({ ...ask, embeddings: ["a.pt"] })).rejects.toThrow(`embeddings: ${refused}`);
    await expect(model.begin({ ...ask, clipSkip: 2 })).rejects.toThrow(
      "clip skip: expected a whole number from 1 to 1",
    );
  });

  test("names the file that is missing or takes something else", async () => {
    const broken = await assembled("tiny-sd2");
    await exportToOnnx(broken, PLAIN);
    const unet = await readFile(join(broken, "unet", "model.onnx"));
    await writeFile(join(broken, "unet", "model.onnx"), await readFile(join(broken, "vae_decoder", "model.onnx")));
    await expect(openStableDiffusion(broken, device)).rejects.toThrow(
      /unet\/model\.onnx: expected inputs sample, timestep, encoder_hidden_states, got latent_sample; expected outputs out_sample, got sample/,
    );
    await writeFile(join(broken, "unet", "model.onnx"), unet.subarray(0, 5000));
    await expect(openStableDiffusion(broken, device)).rejects.toThrow(
      /unet\/model\.onnx: expected an ONNX model, got bytes/,
    );
    await writeFile(join(broken, "unet", "model.onnx"), unet);
    await rm(join(broken, "unet", "model.onnx_data"));
    const opened = await openStableDiffusion(broken, device);
    await expect(pictures(opened, { sampler: "ddim" })).rejects.toThrow(/model\.onnx_data: expected the weights of/);
    await rm(join(broken, "vae_decoder", "model.onnx"));
    await expect(openStableDiffusion(broken, device)).rejects.toThrow(
      /vae_decoder\/model\.onnx: expected an ONNX model, got no such file/,
    );
  });

  test("a folder that has weights too is used with its weights", async () => {
    const both = await openStableDiffusion(FOLDER, device);
    expect(both.limits.loras).toBe(true);
    expect(model.limits.loras).toBe(false);
  });
});

/** Where test/reference/optimum_export.py wrote to. */
const { LAUREL_OPTIMUM } = process.env;

describe.skipIf(LAUREL_OPTIMUM === undefined)("folders that optimum exported", () => {
  test.each(["sd2", "sdxl"])("%s: the pictures of diffusers", async (name) => {
    const model = await openStableDiffusion(join(LAUREL_OPTIMUM!, name), device);
    const fixture = new URL("../fixtures/diffusion/architectures.json", import.meta.url);
    const { cases } = JSON.parse(await readFile(fixture, "utf8")) as { cases: GoldenCase[] };
    // the export was traced for square pictures
    const drawn = cases.filter((one) => one.model === name && one.changes === undefined && one.clip_skip === undefined);
    for (const one of drawn.filter(({ pipeline, width, height }) => pipeline === undefined && width === height)) {
      const { sampler, steps, guidance, prompt, negative, seed } = one;
      const request = { sampler, steps, guidance, prompt, negativePrompt: negative, seed, count: 1 };
      const [picture] = await pictures(model, request);
      expect(meanDifference(picture!, Uint8Array.from(Buffer.from(one.rgb, "base64")))).toBeLessThanOrEqual(0.05);
    }
  });
});

interface GoldenCase {
  model: string;
  changes?: object;
  clip_skip?: number;
  pipeline?: string;
  width: number;
  height: number;
  sampler: string;
  steps: number;
  guidance: number;
  prompt: string;
  negative?: string;
  seed: number;
  rgb: string;
}
