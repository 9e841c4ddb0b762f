/** @file Good model folders to spoil, and opening them without a device process. */

import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { openStableDiffusion } from "#laurel/diffusion/stable-diffusion";
import { openClipScore } from "#laurel/rewards/clip-score";
import { openImageReward } from "#laurel/rewards/image-reward";
import { openDevice } from "#laurel/runtime/device";

const fixtures = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}/`, import.meta.url));

/** Good models, by what they are. */
export const MODELS = {
  diffusion: fixtures("models/tiny-sd"),
  clip: fixtures("rewards/clip"),
  reward: fixtures("rewards/image-reward"),
} as const;

// A device starts its process when it is first needed: opening a model must not.
const device = openDevice();

/** Opens a diffusers folder. */
export const openDiffusion = (path: string): Promise<unknown> => openStableDiffusion(path, device);
/** Opens a CLIP dual encoder. */
export const openClip = (path: string): Promise<unknown> => openClipScore(path, device);
/** Opens an ImageReward, file or folder. */
export const openReward = (path: string): Promise<unknown> => openImageReward(path, device);

/** Lays out a copy of a model in `folder`; weights are linked. */
export function layOut(model: keyof typeof MODELS, folder: string): void {
  copyTree(MODELS[model], folder);
}

function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (name.startsWith("golden")) continue;
    if (statSync(source).isDirectory()) copyTree(source, target);
    else if (/\.(safetensors|pt)$/.test(name)) symlinkSync(source, target);
    else cpSync(source, target);
  }
}

/** Changes fields of a JSON file; undefined takes a field away. A dot in a name goes a level down. */
export function change(path: string, fields: Readonly<Record<string, unknown>>): void {
  const json = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  for (const [name, value] of Object.entries(fields)) {
    const parts = name.split(".");
    let target = json;
    for (const part of parts.slice(0, -1)) target = target[part] as Record<string, unknown>;
    target[parts.at(-1)!] = value;
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(json));
}
