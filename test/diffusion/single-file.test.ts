/** @file Single files as models: the pictures of a folder with the same weights, what is inferred of the published ones, and what is said of the rest. */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readModel } from "#laurel/diffusion/read-model";
import { readNetworkConfigs } from "#laurel/diffusion/networks";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { type Device, openDevice } from "#laurel/runtime/device";
import { isFloat } from "#laurel/tensor/dtype";
import { realValues } from "#laurel/tensor/real";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { FOLDER } from "./tiny-model.js";

const FIXTURES = join(import.meta.dirname, "..", "fixtures", "weights", "single-file");
const { files } = JSON.parse(await readFile(join(FIXTURES, "golden.json"), "utf8")) as {
  files: Record<string, Record<string, { config: Record<string, unknown> }>>;
};

let device: Device;
let root: string;
beforeAll(async () => {
  device = openDevice();
  root = await mkdtemp(join(tmpdir(), "laurel-single-"));
});
afterAll(async () => {
  await device.close();
  await rm(root, { recursive: true });
});

const SAMPLING = { sampler: "ddim", steps: 2, guidance: 3, width: 16, height: 16 } as const;

/** A copy of a fixture with what it does not say beside it, as in the published repositories. */
async function placed(name: string, like = name): Promise<string> {
  const folder = join(root, name.replace(".", "-"));
  await mkdir(folder, { recursive: true });
  await cp(join(FIXTURES, name), join(folder, name));
  for (const tokenizer of ["tokenizer", "tokenizer_2"]) {
    await cp(join(FOLDER, "tokenizer"), join(folder, tokenizer), { recursive: true });
  }
  for (const [component, { config }] of Object.entries(files[like]!)) {
    if (component.includes(" ")) continue;
    await mkdir(join(folder, component), { recursive: true });
    await writeFile(join(folder, component, "config.json"), JSON.stringify(config));
  }
  return join(folder, name);
}

async function draw(path: string, options: object = {}): Promise<Uint8Array> {
  const model = await openStableDiffusion(path, device, options);
  for await (const { images } of model.generate({ prompt: "a red circle", seed: 1, ...SAMPLING })) {
    await model.dispose();
    return Uint8Array.from(images[0]!.image.data);
  }
  throw new Error("no picture");
}

const PARTS = ["text_encoder", "text_encoder_2", "unet", "vae"] as const;

/** The same weights as a diffusers folder, all of them in float32. */
async function asFolder(file: string): Promise<string> {
  const model = await readModel(file);
  const folder = dirname(file);
  for (const component of PARTS) {
    if (model.configs[component] === undefined) continue;
    const source = await model.openWeights(component);
    const tensors = new Map<string, Tensor>();
    for (const key of source.entries.keys()) {
      const tensor = await source.read(key);
      if (isFloat(tensor.dtype)) tensors.set(key, float32(tensor.shape, Float32Array.from(realValues(tensor))));
    }
    await saveSafetensors(join(folder, component, "model.safetensors"), tensors);
  }
  await cp(join(FOLDER, "scheduler"), join(folder, "scheduler"), { recursive: true });
  const index = JSON.parse(await readFile(join(FOLDER, "model_index.json"), "utf8")) as object;
  const second = {
    text_encoder_2: ["transformers", "CLIPTextModelWithProjection"],
    tokenizer_2: ["transformers", "CLIPTokenizer"],
  };
  const extended = model.configs.text_encoder_2 === undefined ? index : { ...index, ...model.index, ...second };
  await writeFile(join(folder, "model_index.json"), JSON.stringify(extended));
  return folder;
}

describe("pictures", () => {
  // half precision is widened where it is used: the same numbers, whatever the file holds them in
  test.each([
    ["sd1.safetensors", "float32"],
    ["sd1.ckpt", "float16"],
    ["sd2.safetensors", "float16"],
    ["sdxl.safetensors", "bfloat16"],
  ])("%s in %s draws what a folder with its tensors in float32 draws, bit for bit", async (name, dtype) => {
    const file = await placed(name);
    const entries = (await openWeights(file)).entries;
    expect(entries.get("model.diffusion_model.input_blocks.0.0.weight")?.dtype).toBe(dtype);
    const options = { prediction: "epsilon", ...(name.startsWith("sdxl") ? { sampler: "ddim" } : {}) };
    const folder = await asFolder(file);
    const picture = await draw(folder, options);
    expect(new Set(picture).size).toBeGreaterThan(20);
    expect(await draw(file, options)).toEqual(picture);
  });

  test("shards, a variant and PyTorch weights in a folder draw the same picture, and what lacks the variant is said", async () => {
    const folder = await asFolder(await placed("sd1.safetensors"));
    const picture = await draw(folder);
    const unet = join(folder, "unet");
    const source = await openWeights(join(unet, "model.safetensors"));
    const shards = [new Map<string, Tensor>(), new Map<string, Tensor>()];
    const names = [
      "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
      "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
    ];
    const weightMap: Record<string, string> = {};
    for (const [i, key] of [...source.entries.keys()].entries()) {
      shards[i % 2]!.set(key, await source.read(key));
      weightMap[key] = names[i % 2]!;
    }
    for (const [i, shard] of shards.entries()) await saveSafetensors(join(unet, names[i]!), shard);
    const index = JSON.stringify({ metadata: { total_size: 1 }, weight_map: weightMap });
    await writeFile(join(unet, "diffusion_pytorch_model.safetensors.index.fp16.json"), index);
    await writeFile(join(unet, "model.safetensors"), "not read where the variant is");
    await rm(join(folder, "text_encoder", "model.safetensors"));
    await cp(join(FIXTURES, "text-encoder.bin"), join(folder, "text_encoder", "pytorch_model.bin"));
    expect(await draw(folder, { variant: "fp16" })).toEqual(picture);
    const { warnings } = await openStableDiffusion(folder, device, { variant: "fp16" });
    expect([...warnings].sort()).toEqual([
      `${join(folder, "text_encoder")}: no weights of variant fp16; pytorch_model.bin is used`,
      `${join(folder, "vae")}: no weights of variant fp16; model.safetensors is used`,
    ]);
    await rm(folder, { recursive: true });
  });

  test("zip and legacy checkpoints in half precision draw the same picture; its averages draw another", async () => {
    const picture = await draw(await placed("sd1.ckpt"));
    expect(await draw(await placed("sd1-legacy.ckpt"))).toEqual(picture);
    const averages = await placed("sd1-ema.safetensors");
    expect(await draw(averages)).toEqual(picture);
    expect(await draw(averages, { variant: "ema" })).not.toEqual(picture);
  });
});

describe("what a file is", () => {
  test("a denoiser with nine channels is an inpainting model", async () => {
    const model = await readModel(await placed("sd1-inpainting.safetensors"));
    expect(readNetworkConfigs(model).inpainting).toBe(true);
    expect(model.scheduler.prediction_type).toBe("epsilon");
  });

  test("Stable Diffusion 2 is presumed to predict velocity, which is said and can be told", async () => {
    const file = join(FIXTURES, "sd2.safetensors");
    const presumed = await readModel(file);
    expect(presumed.scheduler.prediction_type).toBe("v_prediction");
    expect(presumed.warnings).toEqual([
      expect.stringMatching(
        /sd2\.safetensors: nothing in it tells what its denoiser predicts; velocity is presumed.* --prediction epsilon$/,
      ),
    ]);
    const told = await readModel(file, { prediction: "epsilon" });
    expect(told.scheduler.prediction_type).toBe("epsilon");
    expect(told.warnings).toEqual([]);
  });

  test("metadata tells prediction and size", async () => {
    const source = await openWeights(join(FIXTURES, "sd2.safetensors"));
    const tensors = new Map<string, Tensor>();
    for (const key of source.entries.keys()) tensors.set(key, await source.read(key));
    const path = join(root, "stated.safetensors");
    const metadata = { "modelspec.architecture": "stable-diffusion-v2-512", "modelspec.resolution": "640x640" };
    await saveSafetensors(path, tensors, metadata);
    const model = await readModel(path);
    expect(model.scheduler.prediction_type).toBe("epsilon");
    expect(model.configs.unet).toMatchObject({ sample_size: 80 });
    expect(model.warnings).toEqual([]);
  });

  test("configurations of another model that lie beside it are not used, and that is said", async () => {
    const file = await placed("sd1.safetensors", "sdxl.safetensors");
    const model = await readModel(file);
    expect(model.warnings).toContainEqual(
      expect.stringMatching(
        /unet\/config\.json: not used, since it is of another model than sd1\.safetensors \(cross_attention_dim: 24, not 8\)$/,
      ),
    );
    expect(model.configs.unet).toMatchObject({ cross_attention_dim: 8, attention_head_dim: 8 });
    await rm(dirname(file), { recursive: true });
  });

  test("without a tokenizer beside it CLIP's own is taken, padded as the text encoder was trained", async () => {
    const [first, second] = await Promise.all(
      ["sd1.safetensors", "sd2.safetensors"].map((name) => readModel(join(FIXTURES, name))),
    );
    const ids = async (model: typeof first) =>
      (await model!.openTokenizer("text_encoder")).encode("a photo of a cat").ids.slice(0, 9);
    expect(await ids(first)).toEqual([49406, 320, 1125, 539, 320, 2368, 49407, 49407, 49407]);
    expect(await ids(second)).toEqual([49406, 320, 1125, 539, 320, 2368, 49407, 0, 0]);
  });

  test("a variant that a single file cannot have is refused", async () => {
    await expect(readModel(join(FIXTURES, "sd1.safetensors"), { variant: "fp16" })).rejects.toThrow(
      /sd1\.safetensors: expected the variant ema, which alone a single file can have, got fp16$/,
    );
  });
});
