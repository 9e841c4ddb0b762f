import { mkdir, rename, symlink, writeFile } from "node:fs/promises";
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
