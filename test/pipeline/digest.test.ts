import { mkdir, readFile, rename, symlink, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ModelError } from "#laurel/errors";
import { digestModel } from "#laurel/pipeline/digest";
import { temporaryFolder } from "./runs.js";

test("a digest follows names and contents, not the place or hidden files", async () => {
  const parent = await temporaryFolder();
  const folder = join(parent, "a");
  await mkdir(join(folder, "unet"), { recursive: true });
  await writeFile(join(folder, "unet", "model.safetensors"), "weights");
  await writeFile(join(folder, "model_index.json"), "{}");
  const digest = await digestModel(folder);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
  await writeFile(join(folder, ".DS_Store"), "hidden");
  await symlink(folder, join(parent, "link"));
  expect(await digestModel(join(parent, "link"))).toBe(digest);
  await rename(join(folder, "model_index.json"), join(folder, "index.json"));
  expect(await digestModel(folder)).not.toBe(digest);
  await rename(join(folder, "index.json"), join(folder, "model_index.json"));
  expect(await digestModel(folder)).toBe(digest);
  await writeFile(join(folder, "unet", "model.safetensors"), "weightz");
  expect(await digestModel(folder)).not.toBe(digest);
});

test("a single file has a digest, a missing one is a ModelError", async () => {
  const parent = await temporaryFolder();
  await writeFile(join(parent, "ImageReward.pt"), "weights");
  expect(await digestModel(join(parent, "ImageReward.pt"))).toMatch(/^[0-9a-f]{64}$/);
  await expect(digestModel(join(parent, "none"))).rejects.toBeInstanceOf(ModelError);
});

test("the same weights in another format, and files Laurel does not read, do not change it", async () => {
  const folder = join(await temporaryFolder(), "model");
  await mkdir(folder);
  await writeFile(join(folder, "model.bin"), "pickled");
  const pickled = await digestModel(folder);
  await writeFile(join(folder, "model.safetensors"), "weights");
  const digest = await digestModel(folder);
  expect(digest).not.toBe(pickled);
  for (const name of ["model.bin", "README.md", "model.onnx", "flax_model.msgpack"])
    await writeFile(join(folder, name), "other");
  expect(await digestModel(folder)).toBe(digest);
});

test("a large file is read again only when its size or time changed; a damaged cache costs time only", async () => {
  const folder = await temporaryFolder();
  const cache = join(folder, "cache", "digests.json");
  const file = join(folder, "large.pt");
  await writeFile(file, "");
  // Sparse: nothing of this size is written.
  await truncate(file, 64 * 2 ** 20);
  const digest = await digestModel(file, { cache });
  const remembered = await readFile(cache, "utf8");
  expect(Object.keys(JSON.parse(remembered) as object)).toHaveLength(1);
  await writeFile(cache, remembered.replace(/"sha256": "[0-9a-f]{4}/, '"sha256": "0000'));
  expect(await digestModel(file, { cache })).not.toBe(digest);
  await utimes(file, 1, 1);
  expect(await digestModel(file, { cache })).toBe(digest);
  await writeFile(cache, "{ torn");
  expect(await digestModel(file, { cache })).toBe(digest);
});
