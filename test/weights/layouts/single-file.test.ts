/** @file Single-file checkpoints: every tensor of every component, bit for bit as diffusers' own loader makes it; and what is refused. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { float32, type Tensor } from "#laurel/tensor/tensor";
import { readSingleFile, type SingleFile } from "#laurel/weights/layouts/single-file";
import { openWeights } from "#laurel/weights/open";
import { saveSafetensors } from "#laurel/weights/safetensors";
import type { WeightSource } from "#laurel/weights/types";
import { fixture, temporaryFolder } from "../helpers.js";

/** Made with: python test/reference/single_files.py test/fixtures/weights/single-file (torch 2.13.0, diffusers 0.38.0, transformers 4.57.1). */
const { files } = JSON.parse(readFileSync(fixture("single-file/golden.json"), "utf8")) as {
  files: Record<string, Record<string, { tensors: Record<string, string> }>>;
};

const PARTS: Readonly<Record<string, (file: SingleFile) => WeightSource | undefined>> = {
  unet: ({ unet }) => unet,
  "unet ema": ({ unet }) => unet,
  vae: ({ vae }) => vae,
  text_encoder: ({ textEncoder }) => textEncoder,
  text_encoder_2: ({ textEncoder2 }) => textEncoder2,
};

const FAMILIES: Readonly<Record<string, string>> = { sd1: "sd1", sd2: "sd2", sdxl: "sdxl" };

/** Of shape and bytes, as the reference script computes it. */
function digestOf({ shape, data }: Tensor): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return createHash("sha256")
    .update(`${shape.join("x")}\n`)
    .update(bytes)
    .digest("hex")
    .slice(0, 16);
}

const cases = Object.entries(files).flatMap(([name, parts]) =>
  Object.entries(parts).map(([part, { tensors }]) => ({ name, part, tensors })),
);

describe("tensors are those of diffusers' loader, bit for bit", () => {
  test.each(cases)("$name: $part", async ({ name, part, tensors }) => {
    const file = readSingleFile(await openWeights(fixture(`single-file/${name}`)), { ema: part.endsWith("ema") });
    expect(file.family).toBe(FAMILIES[/^\w+?(?=[-.])/.exec(name)![0]]);
    const source = PARTS[part]!(file)!;
    const found: Record<string, string> = {};
    for (const key of source.entries.keys()) {
      if (!key.endsWith("position_ids")) found[key] = digestOf(await source.read(key));
    }
    expect(found).toEqual(tensors);
    expect(source.unusable.size).toBe(0);
  });
});

describe("refused", () => {
  const folder = temporaryFolder();
  const one = float32([1], [0]);
  const without = async (name: string, dropped: RegExp): Promise<WeightSource> => {
    const source = await openWeights(fixture("single-file/sdxl.safetensors"));
    const tensors = new Map<string, Tensor>();
    for (const key of source.entries.keys()) if (!dropped.test(key)) tensors.set(key, one);
    await saveSafetensors(`${folder}/${name}`, tensors);
    return openWeights(`${folder}/${name}`);
  };

  test.each([
    ["the denoiser", /^model\./, /got one without the denoiser \(model\.diffusion_model\.\*\)$/],
    ["the autoencoder", /^first_stage/, /without the autoencoder \(first_stage_model\.\* or vae\.\*\)$/],
    [
      "the first text encoder",
      /^conditioner\.embedders\.0/,
      /without a text encoder \(conditioner\.embedders\.0\.transformer\.\*\)$/,
    ],
    [
      "all text encoders",
      /^conditioner/,
      /without the text encoder \(cond_stage_model\.\* or conditioner\.embedders\.\*\)$/,
    ],
  ])("a file without %s", async (what, dropped, message) => {
    const source = await without(`${what}.safetensors`, dropped);
    expect(() => readSingleFile(source)).toThrow(message);
  });

  test.each([
    ["conditioner.embedders.0.model.ln_final.weight", /got Stable Diffusion XL's refiner, which is not supported$/],
    ["model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight", /got Stable Diffusion 3, which is not supported$/],
    ["double_blocks.0.img_attn.norm.key_norm.scale", /got FLUX, which is not supported$/],
    ["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", /got a LoRA; give it with --lora$/],
    [
      "down_blocks.0.resnets.0.conv1.weight",
      /got one component in diffusers' .* give the folder with model_index\.json$/,
    ],
  ])("%s", async (key, message) => {
    const path = `${folder}/other.safetensors`;
    await saveSafetensors(path, new Map([[key, one]]));
    const source = await openWeights(path);
    expect(() => readSingleFile(source)).toThrow(message);
    expect(() => readSingleFile(source)).toThrow(path);
  });

  test("averages that are not there", async () => {
    const source = await openWeights(fixture("single-file/sd1.safetensors"));
    expect(() => readSingleFile(source, { ema: true })).toThrow(
      /expected moving averages \(model_ema\.\*\) .* got none$/,
    );
  });

  test("a joint projection that cannot be cut is named with its shape", async () => {
    const original = await openWeights(fixture("single-file/sd2.safetensors"));
    const key = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias";
    const tensors = new Map<string, Tensor>();
    for (const name of original.entries.keys())
      tensors.set(name, name === key ? float32([7], new Array<number>(7).fill(0)) : one);
    await saveSafetensors(`${folder}/cut.safetensors`, tensors);
    const { textEncoder } = readSingleFile(await openWeights(`${folder}/cut.safetensors`));
    expect(textEncoder.unusable.get("text_model.encoder.layers.0.self_attn.q_proj.bias")).toMatch(
      /in_proj_bias: \[7\], not 3 equal parts$/,
    );
  });
});
