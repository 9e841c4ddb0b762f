/** @file A diffusers folder with random weights: Stable Diffusion's networks at a chosen size, with the demo model's tokenizer. */

import { cp, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readModelFolder } from "../dist/diffusion/model-folder.js";
import { decoderGraph, denoiserGraph, readNetworkConfigs } from "../dist/diffusion/networks.js";
import { wholeTextGraph } from "../dist/diffusion/text-networks.js";
import { writeRandomCheckpoint } from "./checkpoint.js";

const DEMO = fileURLToPath(new URL("../models/demo/stable-diffusion", import.meta.url));
const SEED = 20220822;

const clip = (width, layers) => ({
  architectures: ["CLIPTextModel"],
  model_type: "clip_text_model",
  hidden_act: "quick_gelu",
  hidden_size: width,
  intermediate_size: 4 * width,
  num_attention_heads: width / 64,
  num_hidden_layers: layers,
  max_position_embeddings: 77,
  vocab_size: 49408,
  layer_norm_eps: 1e-5,
  projection_dim: width,
  bos_token_id: 0,
  eos_token_id: 2,
});
const autoencoder = (channels, layers) => ({
  _class_name: "AutoencoderKL",
  block_out_channels: channels,
  down_block_types: channels.map(() => "DownEncoderBlock2D"),
  up_block_types: channels.map(() => "UpDecoderBlock2D"),
  layers_per_block: layers,
  latent_channels: 4,
  norm_num_groups: 32,
  scaling_factor: 0.18215,
});
const unet = (channels, layers, width) => ({
  _class_name: "UNet2DConditionModel",
  sample_size: 64,
  in_channels: 4,
  out_channels: 4,
  block_out_channels: channels,
  layers_per_block: layers,
  cross_attention_dim: width,
  attention_head_dim: 8,
  down_block_types: channels.map((_, i) => (i === channels.length - 1 ? "DownBlock2D" : "CrossAttnDownBlock2D")),
  up_block_types: channels.map((_, i) => (i === 0 ? "UpBlock2D" : "CrossAttnUpBlock2D")),
});

/** Configurations by size: Stable Diffusion 1.5's, and a third of its width with one layer less a level. */
export const SIZES = {
  full: {
    text_encoder: clip(768, 12),
    unet: unet([320, 640, 1280, 1280], 2, 768),
    vae: autoencoder([128, 256, 512, 512], 2),
  },
  middle: { text_encoder: clip(256, 4), unet: unet([96, 192, 384], 1, 256), vae: autoencoder([32, 64, 128, 128], 1) },
};

const INDEX = {
  _class_name: "StableDiffusionPipeline",
  text_encoder: ["transformers", "CLIPTextModel"],
  unet: ["diffusers", "UNet2DConditionModel"],
  vae: ["diffusers", "AutoencoderKL"],
};
const SCHEDULER = {
  _class_name: "PNDMScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
};

/** Writes the folder, weights only where they are missing. */
export async function writeRandomDiffusion(folder, configs) {
  const put = async (path, content) => {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, path), JSON.stringify(content));
  };
  await put("model_index.json", INDEX);
  await put("scheduler/scheduler_config.json", SCHEDULER);
  for (const [name, config] of Object.entries(configs)) await put(`${name}/config.json`, config);
  await cp(join(DEMO, "tokenizer"), join(folder, "tokenizer"), { recursive: true });
  const tokenizer = JSON.parse(await readFile(join(DEMO, "tokenizer", "tokenizer_config.json"), "utf8"));
  await put("tokenizer/tokenizer_config.json", { ...tokenizer, model_max_length: 77 });
  const { texts, unet, autoencoder } = readNetworkConfigs(await readModelFolder(folder));
  const size = { height: 32, width: 32 };
  const graphs = {
    "text_encoder/model": wholeTextGraph(texts[0], 77),
    "unet/diffusion_pytorch_model": denoiserGraph(unet, size, 77),
    "vae/diffusion_pytorch_model": decoderGraph(autoencoder, size),
  };
  for (const [name, { parameters }] of Object.entries(graphs)) {
    const path = join(folder, `${name}.safetensors`);
    const there = await stat(path).catch(() => undefined);
    if (there === undefined) await writeRandomCheckpoint(path, parameters, SEED);
  }
}
