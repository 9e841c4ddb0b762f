/** @file What is inferred of single files from shapes alone: the published configurations of each family. */

import { describe, expect, test } from "vitest";
import { decoderGraph, denoiserGraph, encoderGraph } from "#laurel/diffusion/networks";
import { autoencoderConfigOf, textConfigOf, unetConfigOf } from "#laurel/diffusion/single-file-configs";
import { graph, input } from "#laurel/graph/builder";
import type { Graph } from "#laurel/graph/types";
import { parseAutoencoderConfig } from "#laurel/models/autoencoder-kl";
import { buildClipText, parseClipTextConfig } from "#laurel/models/clip-text";
import { parseUnetConfig } from "#laurel/models/unet-2d-condition";
import { rootScope } from "#laurel/nn/scope";
import { weightSource } from "#laurel/weights/source";
import type { WeightEntry, WeightSource } from "#laurel/weights/types";

const CROSS = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"];
const UP = ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"];

/** Fields of the published unet/config.json that decide the computation, beside diffusers' defaults. */
const UNETS = {
  sd1: {
    in_channels: 4,
    cross_attention_dim: 768,
    attention_head_dim: 8,
    block_out_channels: [320, 640, 1280, 1280],
    down_block_types: CROSS,
    up_block_types: UP,
  },
  "sd1 inpainting": {
    in_channels: 9,
    cross_attention_dim: 768,
    attention_head_dim: 8,
    block_out_channels: [320, 640, 1280, 1280],
    down_block_types: CROSS,
    up_block_types: UP,
  },
  sd2: {
    cross_attention_dim: 1024,
    attention_head_dim: [5, 10, 20, 20],
    use_linear_projection: true,
    block_out_channels: [320, 640, 1280, 1280],
    down_block_types: CROSS,
    up_block_types: UP,
  },
  sdxl: {
    cross_attention_dim: 2048,
    attention_head_dim: [5, 10, 20],
    use_linear_projection: true,
    block_out_channels: [320, 640, 1280],
    transformer_layers_per_block: [1, 2, 10],
    down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    addition_embed_type: "text_time",
    addition_time_embed_dim: 256,
    projection_class_embeddings_input_dim: 2816,
  },
};

const VAE = { block_out_channels: [128, 256, 512, 512], layers_per_block: 2, scaling_factor: 0.18215 };
const TYPES = { down_block_types: VAE.block_out_channels.map(() => "DownEncoderBlock2D"), up_block_types: VAE.block_out_channels.map(() => "UpDecoderBlock2D") }; // prettier-ignore

/** text_encoder/config.json: Stable Diffusion 1 and the first of XL; 2; the second of XL. */
const TEXTS = {
  "CLIP ViT-L": { hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12, num_hidden_layers: 12, eos_token_id: 2, projection_dim: 768 }, // prettier-ignore
  "OpenCLIP ViT-H, its last block left out": { hidden_size: 1024, intermediate_size: 4096, num_attention_heads: 16, num_hidden_layers: 23, hidden_act: "gelu", eos_token_id: 2 }, // prettier-ignore
  "OpenCLIP ViT-bigG": { hidden_size: 1280, intermediate_size: 5120, num_attention_heads: 20, num_hidden_layers: 32, hidden_act: "gelu", eos_token_id: 2 }, // prettier-ignore
};

/** Tensors of these graphs' shapes that lie nowhere. */
function sourceOf(...graphs: readonly Graph[]): WeightSource {
  const entries = new Map<string, WeightEntry>();
  for (const { parameters } of graphs) {
    for (const [name, { shape }] of parameters) {
      entries.set(name, { name, dtype: "float16", shape: shape as number[], file: "/nowhere", offset: 0, length: 0 });
    }
  }
  return weightSource({ description: "shapes", entries });
}

const whole = ({ decided, presumed }: ReturnType<typeof unetConfigOf>): object => ({ ...presumed, ...decided });

describe("the denoiser", () => {
  test.each(Object.entries(UNETS))("%s", (name, published) => {
    const config = parseUnetConfig(published, "published");
    const unet = sourceOf(denoiserGraph(config, { height: 8, width: 8 }, 77));
    const family = name.startsWith("sd1") ? "sd1" : name === "sd2" ? "sd2" : "sdxl";
    const inferred = parseUnetConfig(whole(unetConfigOf({ unet, family })), "inferred");
    expect(inferred).toEqual(config);
  });
});

describe("the autoencoder", () => {
  test.each([
    ["sd1", 0.18215],
    ["sd2", 0.18215],
    ["sdxl", 0.13025],
  ] as const)("%s", (family, scaling_factor) => {
    const config = parseAutoencoderConfig({ ...VAE, ...TYPES, scaling_factor }, "published");
    const vae = sourceOf(encoderGraph(config, 64, 64), decoderGraph(config, { height: 8, width: 8 }));
    expect(parseAutoencoderConfig(whole(autoencoderConfigOf({ vae, family })), "inferred")).toEqual(config);
  });
});

describe("the text encoder", () => {
  test.each(Object.entries(TEXTS))("%s", (name, published) => {
    const config = parseClipTextConfig({ ...published, vocab_size: 49_408, max_position_embeddings: 77 }, "published");
    const { lastHiddenState } = buildClipText(
      rootScope({ mode: "inference" }),
      config,
      input("ids", "int64", ["N", 77]),
    );
    const source = sourceOf(graph("text", { lastHiddenState }));
    const inferred = whole(textConfigOf(source, name.startsWith("Open")));
    expect(parseClipTextConfig({ ...inferred, ...("projection_dim" in published ? { projection_dim: 768 } : {}) }, "inferred")).toEqual(config); // prettier-ignore
  });
});
