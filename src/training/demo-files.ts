/** @file The demo models' folders as training reads and writes them: configurations and tokenizers copied, parameters as float16. */

import { copyFileSync, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { float16ToFloat32, float32ToFloat16 } from "../tensor/half.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32, tensor } from "../tensor/tensor.js";
import { parseJson, readTextSync } from "../util/read-file.js";
import { openWeights } from "../weights/open.js";
import { saveSafetensors } from "../weights/safetensors.js";

/** Where the parameters of each network lie below a folder of demo models. */
export const DEMO_WEIGHTS = {
  autoencoder: "stable-diffusion/vae/diffusion_pytorch_model.safetensors",
  denoiser: "stable-diffusion/unet/diffusion_pytorch_model.safetensors",
  textEncoder: "stable-diffusion/text_encoder/model.safetensors",
  reward: "image-reward/ImageReward.safetensors",
  judge: "clip/model.safetensors",
} as const;

/** Configurations and vocabularies are small; weights are not copied. */
const LARGEST_COPIED = 1 << 20;

/** A text file. @throws ModelError when it is missing */
export function readText(path: string): string {
  return readTextSync(path, { expected: "a text file" });
}

/** A parsed JSON file. @throws ModelError when it is missing or not JSON */
export function readJson(path: string): unknown {
  return parseJson(readText(path), path);
}

/** Copies a folder's configurations and tokenizer files, not its weights, where they are not there yet. */
export function copyConfigurations(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copyConfigurations(source, target);
    else if (!existsSync(target) && !entry.name.endsWith(".safetensors") && statSync(source).size <= LARGEST_COPIED) {
      copyFileSync(source, target);
    }
  }
}

/** All float parameters of a file, in float32. `prefix` is put before every name. */
export async function readParameters(path: string, prefix = ""): Promise<Map<string, Tensor>> {
  const source = await openWeights(path);
  const parameters = new Map<string, Tensor>();
  for (const name of source.entries.keys()) {
    const value = await source.read(name);
    if (value.dtype === "float32") parameters.set(prefix + name, value);
    else if (value.dtype === "float16") {
      parameters.set(prefix + name, float32(value.shape, float16ToFloat32(value.data as Uint16Array)));
    }
  }
  return parameters;
}

/** Writes parameters as float16, atomically; of those with `prefix`, named without it, only. */
export async function writeParameters(
  path: string,
  parameters: ReadonlyMap<string, Tensor>,
  prefix = "",
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const halves = new Map<string, Tensor>();
  for (const [name, { shape, data }] of parameters) {
    if (name.startsWith(prefix)) {
      halves.set(name.slice(prefix.length), tensor("float16", shape, float32ToFloat16(data as Float32Array)));
    }
  }
  await saveSafetensors(path, halves, { format: "pt" });
}
