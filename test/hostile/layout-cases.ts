/** @file Models whose parts are missing, of another model or no weights at all: one error before any work, which names the file. */

import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { archive, dictOf, global, pickle } from "../weights/helpers.js";
import { change, layOut, openDiffusion } from "./models.js";
import type { HostileCase, Table } from "./runner.js";

const fixture = (path: string): string => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
const WEIGHTS = "diffusion_pytorch_model.safetensors";
const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${"a".repeat(64)}\nsize 3438354725\n`;
const PAGE = "<!DOCTYPE html><html><body>Sign in</body></html>";

/** A tiny Stable Diffusion 1 with one thing wrong. */
function folder(name: string, at: string, message: RegExp, spoil: (folder: string) => void): HostileCase {
  const make = (path: string): string => {
    layOut("diffusion", path);
    spoil(path);
    return path;
  };
  return { name, at, message, make, open: openDiffusion };
}

/** A single file with one thing wrong. */
function file(name: string, message: RegExp, write: (path: string) => unknown, as = "model.safetensors"): HostileCase {
  const make = async (path: string): Promise<string> => {
    await write(join(path, as));
    return join(path, as);
  };
  return { name, at: as, message, make, open: openDiffusion };
}

function shardIndex(path: string, map: Readonly<Record<string, string>>): void {
  writeFileSync(join(path, "unet", `${WEIGHTS}.index.json`), JSON.stringify({ metadata: {}, weight_map: map }));
}

const PARTS: readonly HostileCase[] = [
  ...["text_encoder", "unet", "vae", "scheduler", "tokenizer"].map((part) =>
    folder(`no folder ${part}`, part, /expected .*, got (no such file|neither)/, (path) =>
      rmSync(join(path, part), { recursive: true }),
    ),
  ),
  ...["unet", "vae"].map((part) =>
    folder(`no weights in ${part}`, part, /expected a weight file such as .*, got config\.json/, (path) =>
      readdirSync(join(path, part))
        .filter((name) => name.endsWith(".safetensors"))
        .forEach((name) => rmSync(join(path, part, name))),
    ),
  ),
  folder("the denoiser of an XL", "", /cross_attention_dim .*expected 32, got 56.*different models/, (path) => {
    rmSync(join(path, "unet"), { recursive: true });
    cpSync(fixture("models/tiny-sdxl/unet"), join(path, "unet"), { recursive: true });
  }),
  folder(
    "the weights of an XL's denoiser",
    join("unet", WEIGHTS),
    /UNet2DConditionModel: expected the \d+ tensors .*mis-shaped: /,
    (path) => {
      rmSync(join(path, "unet", WEIGHTS));
      cpSync(fixture(`models/tiny-sdxl/unet/${WEIGHTS}`), join(path, "unet", WEIGHTS));
    },
  ),
  folder("a text encoder with another width", "", /cross_attention_dim/, (path) =>
    change(join(path, "unet", "config.json"), { cross_attention_dim: 64 }),
  ),
  ...(["a git LFS pointer", "a web page"] as const).map((what) =>
    folder(`${what} for the denoiser's weights`, join("unet", WEIGHTS), new RegExp(`got ${what}`), (path) => {
      rmSync(join(path, "unet", WEIGHTS));
      writeFileSync(join(path, "unet", WEIGHTS), what === "a web page" ? PAGE : POINTER);
    }),
  ),
];

const SHARDS: readonly HostileCase[] = [
  folder(
    "an index of shards that are not there",
    "unet",
    /expected every shard beside it, got none for .*; fetch the missing files/,
    (path) => {
      rmSync(join(path, "unet", WEIGHTS));
      shardIndex(path, {
        "conv_in.weight": "a-00001-of-00002.safetensors",
        "conv_in.bias": "a-00002-of-00002.safetensors",
      });
    },
  ),
  folder(
    "an index that names a file of another component",
    "unet",
    /expected every listed tensor in its shard, got none for conv_in\.weight in x\.safetensors/,
    (path) => {
      rmSync(join(path, "unet", WEIGHTS));
      cpSync(fixture("models/tiny-sd/text_encoder/model.safetensors"), join(path, "unet", "x.safetensors"));
      shardIndex(path, { "conv_in.weight": "x.safetensors" });
    },
  ),
  folder(
    "an index that lists some of the tensors",
    "unet",
    /expected the \d+ tensors of the network .*missing: /,
    (path) => {
      renameSync(join(path, "unet", WEIGHTS), join(path, "unet", "x.safetensors"));
      shardIndex(path, { "conv_in.weight": "x.safetensors" });
    },
  ),
  folder("shards without an index", "unet", /expected the index of the shards .*fetch the index too/, (path) => {
    const shard = (n: number): string => join(path, "unet", `diffusion_pytorch_model-0000${n}-of-00002.safetensors`);
    renameSync(join(path, "unet", WEIGHTS), shard(1));
    cpSync(shard(1), shard(2));
  }),
];

const FILES: readonly HostileCase[] = [
  file("a git LFS pointer", /got a git LFS pointer to 3438354725 bytes; fetch the file itself/, (path) =>
    writeFileSync(path, POINTER),
  ),
  file("a web page", /got a web page/, (path) => writeFileSync(path, PAGE)),
  file("a download cut short", /cut short\?/, (path) => {
    cpSync(fixture("weights/single-file/sd1.safetensors"), path);
    truncateSync(path, 150_000);
  }),
  file(
    "a single component",
    /expected a single-file checkpoint of Stable Diffusion, got one component in diffusers'/,
    (path) => cpSync(fixture(`models/tiny-sd/unet/${WEIGHTS}`), path),
  ),
  file("a LoRA", /got a LoRA; give it with --lora/, (path) => {
    const header = JSON.stringify({ "lora_unet_a.lora_up.weight": { dtype: "F32", shape: [1], data_offsets: [0, 4] } });
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(path, Buffer.concat([length, Buffer.from(header), Buffer.alloc(4)]));
  }),
  file(
    "a checkpoint that names a class of its trainer",
    /ModelCheckpoint/,
    (path) =>
      writeFileSync(
        path,
        archive(pickle(dictOf(global("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")))),
      ),
    "model.ckpt",
  ),
  file(
    "a zip checkpoint cut short",
    /model\.ckpt: /,
    (path) => {
      const bytes = readFileSync(fixture("weights/single-file/sd1.ckpt"));
      writeFileSync(path, bytes.subarray(0, bytes.length - 1000));
    },
    "model.ckpt",
  ),
  file(
    "tensors of wrong shapes",
    /model\.safetensors \(unet\), got 1 mis-shaped: conv_in\.bias \(expected \[4\], got \[5\]\)/,
    async (path) => {
      const source = await openWeights(fixture("weights/single-file/sd1.safetensors"));
      const tensors = new Map<string, Tensor>();
      for (const name of source.entries.keys()) tensors.set(name, await source.read(name));
      tensors.set("model.diffusion_model.input_blocks.0.0.bias", float32([5], [1, 2, 3, 4, 5]));
      await saveSafetensors(path, tensors);
      // what its tensors do not say of so small a model
      cpSync(fixture("models/tiny-sd/tokenizer"), join(path, "..", "tokenizer"), { recursive: true });
      const beside = { unet: { attention_head_dim: 2, norm_num_groups: 2 }, vae: { norm_num_groups: 2 } };
      for (const [component, config] of Object.entries(beside)) {
        mkdirSync(join(path, "..", component));
        writeFileSync(join(path, "..", component, "config.json"), JSON.stringify(config));
      }
    },
  ),
];

/** Whole models of published layouts. */
export const LAYOUTS: Table = { title: "layouts", cases: [...PARTS, ...SHARDS, ...FILES] };
