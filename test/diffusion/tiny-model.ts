/** @file Copies of the tiny Stable Diffusion of the fixtures, changed in one place. */

import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Tensor } from "#laurel/tensor/tensor";
import { openSafetensors, saveSafetensors } from "#laurel/weights/safetensors";

/** The model itself. */
export const FOLDER = fileURLToPath(new URL("../fixtures/models/tiny-sd", import.meta.url));

const temporary: string[] = [];

/** Removes the copies. */
export async function removeFolders(): Promise<void> {
  await Promise.all(temporary.splice(0).map((folder) => rm(folder, { recursive: true })));
}

/** A copy of the model folder with one JSON file changed. */
export async function changed(file: string, change: (json: Record<string, unknown>) => unknown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-sd-"));
  temporary.push(folder);
  await cp(FOLDER, folder, { recursive: true });
  const path = join(folder, file);
  const json = JSON.parse(await readFile(path, "utf8").catch(() => "{}")) as Record<string, unknown>;
  await writeFile(path, JSON.stringify(change(json)));
  return folder;
}

/** JSON files of a folder, each with fields to change in it. */
export type Changes = Readonly<Record<string, object>>;

/** A whole folder of another architecture: what the fixtures hold of it laid over the tiny Stable Diffusion, its JSON files changed. */
export async function assembled(name: "tiny-sdxl" | "tiny-sd2", changes: Changes = {}): Promise<string> {
  const folder = await changed("model_index.json", (json) => json);
  const models = join(FOLDER, "..");
  await rm(join(folder, "unet"), { recursive: true });
  if (name === "tiny-sdxl") await cp(join(folder, "tokenizer"), join(folder, "tokenizer_2"), { recursive: true });
  else await cp(join(models, "unet-sd2"), join(folder, "unet"), { recursive: true });
  await cp(join(models, name), folder, { recursive: true });
  for (const [file, fields] of Object.entries(changes)) {
    const json = JSON.parse(await readFile(join(folder, file), "utf8")) as object;
    await writeFile(join(folder, file), JSON.stringify({ ...json, ...fields }));
  }
  return folder;
}

/** The model as a latent consistency model: its denoiser has one more layer, which is given the guidance scale. */
export async function distilledFolder(): Promise<string> {
  const folder = await changed("model_index.json", (json) => ({
    ...json,
    _class_name: "LatentConsistencyModelPipeline",
  }));
  const edit = async (file: string, fields: object): Promise<void> => {
    const json = JSON.parse(await readFile(join(folder, file), "utf8")) as object;
    await writeFile(join(folder, file), JSON.stringify({ ...json, ...fields }));
  };
  await edit("unet/config.json", { time_cond_proj_dim: 10 });
  await edit("scheduler/scheduler_config.json", { _class_name: "LCMScheduler" });
  const fixture = await readFile(new URL("../fixtures/diffusion/images.json", import.meta.url), "utf8");
  const { condProj } = JSON.parse(fixture) as { condProj: string };
  const path = join(folder, "unet/diffusion_pytorch_model.safetensors");
  const source = await openSafetensors(path);
  const tensors = new Map<string, Tensor>();
  for (const name of source.entries.keys()) tensors.set(name, await source.read(name));
  const data = new Float32Array(Uint8Array.from(Buffer.from(condProj, "base64")).buffer);
  tensors.set("time_embedding.cond_proj.weight", { dtype: "float32", shape: [data.length / 10, 10], data });
  await saveSafetensors(path, tensors);
  return folder;
}
