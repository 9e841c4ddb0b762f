/** @file What opening a model folder makes of it: defaults, warnings, refusals, old names. */

import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStableDiffusion, type StableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { BackendError } from "#laurel/errors";
import { type Device, openDevice } from "#laurel/runtime/device";
import type { Tensor } from "#laurel/tensor/tensor";
import { openSafetensors, saveSafetensors } from "#laurel/weights/safetensors";
import { changed, distilledFolder, FOLDER, removeFolders } from "./tiny-model.js";

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

describe("folders", () => {
  test("a latent consistency model has its pipeline's defaults, and reads no negative prompt", async () => {
    const opened = await openStableDiffusion(await distilledFolder(), device);
    expect(opened.warnings).toEqual([]);
    expect(opened.defaults).toMatchObject({ sampler: "lcm", steps: 4, guidance: 8.5 });
    expect(opened.resolve({ prompt: "a", negativePrompt: "b", seed: 0, guidance: 0.5 }).warnings).toEqual([
      "negative prompt: it has no effect on a model that was distilled with guidance",
    ]);
  });

  test("a scheduler that is none of the samplers is said, and replaced", async () => {
    const folder = await changed("scheduler/scheduler_config.json", (json) => ({
      ...json,
      _class_name: "LMSDiscreteScheduler",
    }));
    const opened = await openStableDiffusion(folder, device);
    expect(opened.defaults.sampler).toBe("dpmpp-2m");
    expect(opened.warnings).toEqual([
      expect.stringMatching(
        /its scheduler LMSDiscreteScheduler is not among the samplers; dpmpp-2m is the default instead$/,
      ),
    ]);
  });

  test("laurel.json sets the defaults", async () => {
    const folder = await changed("laurel.json", () => ({
      name: "tiny",
      sampler: "ddim",
      steps: 7,
      guidance: 0,
      width: 32,
      batch: 3,
    }));
    const opened = await openStableDiffusion(folder, device);
    expect(opened.name).toBe("tiny");
    expect(opened.defaults).toEqual({
      sampler: "ddim",
      steps: 7,
      guidance: 0,
      eta: 0,
      width: 32,
      height: 64,
      batch: 3,
    });
    expect(opened.warnings).toEqual([]);
  });

  test.each([
    ["laurel.json", () => ({ stepps: 3 }), /laurel\.json: expected sampling defaults, got Unrecognized key: "stepps"/],
    ["laurel.json", () => ({ steps: "3" }), /laurel\.json: expected sampling defaults, got steps: /],
    [
      "model_index.json",
      (json: object) => ({ ...json, _class_name: "StableDiffusion3Pipeline" }),
      /_class_name: expected StableDiffusionPipeline, .* or StableDiffusionXLInpaintPipeline, got "StableDiffusion3Pipeline"/,
    ],
    [
      "model_index.json",
      (json: object) => ({ ...json, vae: ["diffusers", "AutoencoderTiny"] }),
      /vae: expected AutoencoderKL, got "AutoencoderTiny"/,
    ],
    [
      "unet/config.json",
      (json: object) => ({ ...json, cross_attention_dim: 40 }),
      /cross_attention_dim \(the text encoder's hidden_size\): expected 32, got 40/,
    ],
    [
      "unet/config.json",
      (json: object) => ({ ...json, layers_per_block: 1 }),
      /UNet2DConditionModel: expected .* unexpected/,
    ],
    [
      "scheduler/scheduler_config.json",
      (json: object) => ({ ...json, thresholding: true }),
      /scheduler_config\.json: thresholding: expected false, got true/,
    ],
  ])("%s that does not fit is refused (%#)", async (file, change, message) => {
    await expect(openStableDiffusion(await changed(file, change), device)).rejects.toThrow(message);
  });

  test("an autoencoder with the attention names of old files is read", async () => {
    const folder = await changed("laurel.json", () => ({ sampler: "euler", steps: 2, guidance: 1 }));
    const path = join(folder, "vae", "diffusion_pytorch_model.safetensors");
    const source = await openSafetensors(path);
    const old: Readonly<Record<string, string>> = {
      to_q: "query",
      to_k: "key",
      to_v: "value",
      "to_out.0": "proj_attn",
    };
    const tensors = new Map<string, Tensor>();
    for (const name of source.entries.keys()) {
      tensors.set(
        name.replace(/(?<=attentions\.0\.)(to_q|to_k|to_v|to_out\.0)/, (now) => old[now]!),
        await source.read(name),
      );
    }
    expect([...tensors.keys()].filter((name) => name.includes("query"))).not.toEqual([]);
    await saveSafetensors(path, tensors);
    const opened = await openStableDiffusion(folder, device);
    const pictures: unknown[] = [];
    for (const subject of [model, opened]) {
      for await (const group of subject.generate({ prompt: "a", seed: 1, ...opened.defaults }))
        pictures.push(group.images[0]!.image);
    }
    expect(pictures[0]).toEqual(pictures[1]);
    await opened.dispose();
  });

  test("a device that dies while it compiles does not spoil the model", async () => {
    const other = openDevice();
    const opened = await openStableDiffusion(FOLDER, other);
    other.start();
    const preparing = opened.prepare();
    process.kill(other.pid!, "SIGKILL");
    await expect(preparing).rejects.toBeInstanceOf(BackendError);
    await opened.prepare();
    const { states } = await opened.begin({ prompt: "a", seed: 1, count: 2 });
    expect(states).toHaveLength(2);
    await other.close();
  });

  test("a folder that is none is refused", async () => {
    await expect(openStableDiffusion(join(FOLDER, "unet"), device)).rejects.toThrow(
      /model_index\.json: expected a diffusers folder \(model_index\.json\), got no such file/,
    );
  });
});
