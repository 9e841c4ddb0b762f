/** @file Real networks of random weights for whole runs of the executable. */

import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const FIXTURES = fileURLToPath(new URL("../fixtures/models/", import.meta.url));

/** Lays out a Stable Diffusion and an ImageReward in `folder`; returns the options that name them. */
export async function randomModels(
  folder: string,
): Promise<{ readonly generator: string[]; readonly reward: string[] }> {
  const reward = join(folder, "reward");
  await mkdir(reward, { recursive: true });
  for (const name of ["ImageReward.safetensors", "med_config.json"]) {
    await cp(join(FIXTURES, "image-reward", name), join(reward, name));
  }
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const vocabulary = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    ...letters,
    ...letters.map((letter) => `##${letter}`),
  ];
  await writeFile(join(reward, "vocab.txt"), `${vocabulary.join("\n")}\n`);
  return { generator: ["--model", join(FIXTURES, "tiny-sd")], reward: ["--reward-model", reward] };
}
