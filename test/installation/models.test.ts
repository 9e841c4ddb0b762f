import { chmod, cp, mkdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeModel, type InstalledModel, modelDigest } from "#laurel/installation/describe-model";
import { findModels } from "#laurel/installation/find-models";
import { familyOfTensors } from "#laurel/installation/tensor-families";
import { digestModel } from "#laurel/pipeline/digest";
import { hubCacheFolder, imageRewardCacheFolder, laurelCacheFolder } from "#laurel/util/user-folders";
import { float32, type Tensor, zeros } from "#laurel/tensor/tensor";
import { openSafetensors, saveSafetensors } from "#laurel/weights/safetensors";
import { temporaryFolder } from "../pipeline/runs.js";
import { COMMIT, environmentOf, FIXTURES, hubRepository, TINY_REWARD, TINY_SD } from "./folders.js";

/** All models found in `folder` alone. */
async function modelsIn(folder: string): Promise<InstalledModel[]> {
  const { found } = await findModels([folder], environmentOf(join(folder, "no-home")));
  return Promise.all(found.filter(({ source }) => source === "folder").map(describeModel));
}

async function onlyModel(folder: string): Promise<InstalledModel> {
  const models = await modelsIn(folder);
  expect(models).toHaveLength(1);
  return models[0] as InstalledModel;
}

/** A copy of the small Stable Diffusion, to be broken. */
async function brokenDiffusion(break_: (path: string) => Promise<unknown>): Promise<InstalledModel> {
  const folder = await temporaryFolder();
  await cp(TINY_SD, join(folder, "sd"), { recursive: true });
  await break_(join(folder, "sd"));
  return onlyModel(folder);
}

test("the models that ship inside are found first and are usable", async () => {
  const { found } = await findModels([], environmentOf("/nowhere"));
  const models = await Promise.all(found.map(describeModel));
  expect(models.map(({ name, kind, usable, problems }) => [name, kind, usable, problems])).toEqual([
    ["demo/stable-diffusion", "text-to-image", true, []],
    ["demo/image-reward", "image-reward", true, []],
    ["demo/clip", "clip", true, []],
  ]);
  const [diffusion] = models as [InstalledModel];
  expect(diffusion.architecture).toMatchObject({
    image: "64x64",
    latents: "8x8x8",
    "text width": 128,
    prediction: "v_prediction",
    sampler: "dpmpp-2m",
  });
  expect(diffusion.dtypes).toEqual(["float16"]);
  // 19.4 MB of float16 weights.
  expect(diffusion.parameters).toBeGreaterThan(9e6);
  expect(diffusion.parameters).toBeLessThan(diffusion.bytes / 2);
  expect(await modelDigest(diffusion)).toBe(await digestModel(diffusion.path));
});

test("folders are searched through, each model once, nothing inside a model; the kinds are told apart", async () => {
  const models = await modelsIn(FIXTURES);
  const kinds = new Map(models.map(({ name, kind, family }) => [name, kind === "other" ? family : kind]));
  expect(kinds.get("models/tiny-sd")).toBe("text-to-image");
  expect(kinds.get("rewards/image-reward")).toBe("image-reward");
  expect(kinds.get("rewards/clip")).toBe("clip");
  expect(kinds.get("models/unet-sd2")).toBe("UNet2DConditionModel");
  expect([...kinds.keys()].filter((name) => name.startsWith("models/tiny-sd/"))).toEqual([]);
  expect(kinds.size).toBe(models.length);
});

test("a hub's cache is read with its revisions, through its links", async () => {
  const home = await temporaryFolder();
  const cache = join(home, ".cache", "huggingface", "hub");
  const snapshot = await hubRepository(cache, "someone/tiny-sd", TINY_SD);
  await mkdir(join(cache, "models--someone--empty", "snapshots"), { recursive: true });
  await mkdir(join(cache, "datasets--someone--pictures", "snapshots", COMMIT), { recursive: true });
  await cp(TINY_REWARD, join(home, ".cache", "ImageReward"), { recursive: true });
  const { found, places } = await findModels([], environmentOf(home));
  const models = await Promise.all(found.filter(({ source }) => source !== "embedded").map(describeModel));
  expect(models).toMatchObject([
    { source: "hub-cache", name: "someone/empty", usable: false, problems: [/^expected a snapshot/] },
    {
      source: "hub-cache",
      name: "someone/tiny-sd",
      path: snapshot,
      revision: { commit: COMMIT, refs: ["main"] },
      kind: "text-to-image",
      usable: true,
      bytes: (await onlyModel(TINY_SD)).bytes,
    },
    { source: "image-reward-cache", kind: "image-reward", usable: true },
  ].map((model) => ({ ...model, ...(model.problems === undefined ? {} : { problems: [expect.stringMatching(model.problems[0] as RegExp)] }) }))); // prettier-ignore
  expect(places.map(({ exists }) => exists)).toEqual([true, true]);
  await writeFile(join(cache, "models--someone--tiny-sd", "blobs", "abc.incomplete"), "x");
  const again = await findModels([], environmentOf(home));
  expect(again.found.at(-2)?.problems).toEqual(["1 of its files are not downloaded to the end"]);
});

describe("what is broken is said, and named", () => {
  test.each<[string, (path: string) => Promise<unknown>, RegExp]>([
    ["no index", (path) => rm(join(path, "model_index.json")), /^model_index\.json: expected a diffusers folder .* got no such file$/],
    ["an index cut short", (path) => truncate(join(path, "model_index.json"), 20), /^model_index\.json: expected JSON, got /],
    ["weights cut short", (path) => truncate(join(path, "unet", "diffusion_pytorch_model.safetensors"), 5000), /^unet\/diffusion_pytorch_model\.safetensors: /],
    ["no weights", (path) => rm(join(path, "vae", "diffusion_pytorch_model.safetensors")).then(() => rm(join(path, "vae", "golden.safetensors"))), /^vae: expected a weight file/],
    ["weights that are a pointer", (path) => writeFile(join(path, "vae", "diffusion_pytorch_model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 42\n"), /^vae\/.*: expected weights, got a git LFS pointer to 42 bytes/],
    ["no tokenizer", (path) => rm(join(path, "tokenizer"), { recursive: true }), /^tokenizer: expected /],
    ["another width", (path) => changeConfig(join(path, "unet", "config.json"), { cross_attention_dim: 48 }), /unet cross_attention_dim .*: expected 32, got 48/],
  ])("%s", async (_, break_, problem) => {
    const model = await brokenDiffusion(break_);
    expect([model.kind, model.usable]).toEqual(["text-to-image", false]);
    expect(model.problems).toEqual([expect.stringMatching(problem)]);
  }); // prettier-ignore

  test("a pipeline of another kind is recognised, which is no problem of it", async () => {
    const model = await brokenDiffusion((path) =>
      changeConfig(join(path, "model_index.json"), { _class_name: "FluxPipeline" }),
    );
    expect(model).toMatchObject({ kind: "other", family: "FluxPipeline", usable: false, problems: [] });
    expect(model.parameters).toBeGreaterThan(0);
  });

  test("links to nothing, loops, unreadable and hidden folders do not stop the search", async () => {
    const folder = await temporaryFolder();
    await cp(TINY_REWARD, join(folder, "reward"), { recursive: true });
    await symlink(folder, join(folder, "loop"));
    await symlink("/nowhere.safetensors", join(folder, "gone.safetensors"));
    await cp(TINY_SD, join(folder, ".hidden"), { recursive: true });
    await mkdir(join(folder, "closed"));
    await chmod(join(folder, "closed"), 0o000);
    const models = await modelsIn(folder);
    const rows = models.map(({ name, problems }) => [name, problems[0]]);
    expect(rows).toContainEqual(["reward", undefined]);
    expect(rows).toContainEqual(["gone.safetensors", "expected a file, got a link to nothing"]);
    // The superuser may read everything.
    if (process.getuid?.() !== 0) expect(rows).toContainEqual(["closed", "expected a readable folder, got EACCES"]);
    expect(rows).toHaveLength(process.getuid?.() === 0 ? 2 : 3);
  });

  test("a folder that is not there is a usage error", async () => {
    await expect(findModels(["/nowhere"], environmentOf("/"))).rejects.toThrow(
      /^\/nowhere: expected a folder or a model file, got none$/,
    );
  });
});

test("an inpainting model is told by its denoiser, whatever its pipeline is called", async () => {
  const named = { _class_name: "StableDiffusionInpaintPipeline" };
  const plain = await brokenDiffusion((path) => changeConfig(join(path, "model_index.json"), named));
  expect(plain).toMatchObject({ kind: "text-to-image", usable: true, problems: [] });
  const nine = await brokenDiffusion(async (path) => {
    await changeConfig(join(path, "unet", "config.json"), { in_channels: 9 });
    const file = join(path, "unet", "diffusion_pytorch_model.safetensors");
    const source = await openSafetensors(file);
    const tensors = new Map<string, Tensor>();
    for (const name of source.entries.keys()) tensors.set(name, await source.read(name));
    const [outputs = 0] = tensors.get("conv_in.weight")?.shape ?? [];
    tensors.set("conv_in.weight", zeros("float32", [outputs, 9, 3, 3]));
    await saveSafetensors(file, tensors);
  });
  expect(nine).toMatchObject({ kind: "inpainting", usable: true, problems: [] });
});

test("a file of weights is told by its tensors", async () => {
  const folder = await temporaryFolder();
  const file = join(folder, "style.safetensors");
  await saveSafetensors(file, new Map([["lora_unet_mid.lora_down.weight", float32([1, 2], [1, 2])]]));
  expect(await onlyModel(file)).toMatchObject({ kind: "other", family: "LoRA", parameters: 2, problems: [] });
  const names = (name: string): string => familyOfTensors([name, "more"]);
  expect(names("model.diffusion_model.input_blocks.0.0.weight")).toBe("Stable Diffusion, single file");
  expect(names("double_blocks.0.img_attn.qkv.weight")).toBe("Flux, single file");
  expect(names("emb_params")).toBe("textual inversion");
  expect(names("weight")).toBe("unknown");
});

test("caches are where their owners look for them", () => {
  const home = { HOME: "/h" };
  expect(hubCacheFolder(home)).toBe("/h/.cache/huggingface/hub");
  expect(hubCacheFolder({ ...home, XDG_CACHE_HOME: "/x" })).toBe("/x/huggingface/hub");
  expect(hubCacheFolder({ ...home, XDG_CACHE_HOME: "relative" })).toBe("/h/.cache/huggingface/hub");
  expect(hubCacheFolder({ ...home, HF_HOME: "~/hf" })).toBe("/h/hf/hub");
  expect(hubCacheFolder({ ...home, HF_HOME: "/a", HUGGINGFACE_HUB_CACHE: "$HOME/b" })).toBe("/h/b");
  expect(hubCacheFolder({ ...home, HF_HUB_CACHE: "${HOME}/c", HUGGINGFACE_HUB_CACHE: "/b" })).toBe("/h/c");
  expect(laurelCacheFolder({ ...home, XDG_CACHE_HOME: "/x" })).toBe("/x/laurel");
  expect(imageRewardCacheFolder({ ...home, XDG_CACHE_HOME: "/x" })).toBe("/h/.cache/ImageReward");
});

async function changeConfig(path: string, change: Record<string, unknown>): Promise<void> {
  await writeFile(path, JSON.stringify({ ...(JSON.parse(await readFile(path, "utf8")) as object), ...change }));
}
