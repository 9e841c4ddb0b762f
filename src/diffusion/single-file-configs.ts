/**
 * @file The configurations of a single file's networks: sizes from the shapes of its tensors, the rest as the published models of its family have it.
 * Published: stable-diffusion-v1-5, stabilityai's stable-diffusion-2-1 and -2-1-base, stable-diffusion-xl-base-1.0, their config.json files.
 */

import { ModelError } from "../errors.js";
import type { SingleFile, SingleFileFamily } from "../weights/layouts/single-file.js";
import type { WeightSource } from "../weights/types.js";

/** A configuration in two parts: what the file's tensors say, and what they do not. */
export interface InferredConfig {
  /** From shapes: nothing else fits the file. */
  readonly decided: Readonly<Record<string, unknown>>;
  /** As the published models of the family. */
  readonly presumed: Readonly<Record<string, unknown>>;
}

/** Reads shapes of a source. */
class Shapes {
  constructor(private readonly source: WeightSource) {}

  has(name: string): boolean {
    return this.source.entries.has(name);
  }

  /** The size of a tensor along an axis. @throws ModelError when there is no such tensor or axis */
  size(name: string, axis: number): number {
    const size = this.source.entries.get(name)?.shape[axis];
    if (size !== undefined) return size;
    const reason = this.source.unusable.get(name) ?? "none";
    throw new ModelError(`${this.source.description}: expected a tensor ${name}, got ${reason}`);
  }

  /** How many of a kind follow each other from 0; `#` in the name is the number. */
  count(name: string): number {
    let count = 0;
    while (this.has(name.replace("#", String(count)))) count++;
    return count;
  }
}

/** Channels of one attention head in every family after the first. */
const HEAD = 64;
/** Widths below one head's are no published model's. */
const heads = (width: number): number => Math.max(1, Math.floor(width / HEAD));

/** Stable Diffusion XL embeds each size with as many sines and cosines. */
const SIZE_CHANNELS = 256;

/** The denoiser's. */
export function unetConfigOf({ unet, family }: Pick<SingleFile, "unet" | "family">): InferredConfig {
  const shapes = new Shapes(unet);
  const levels = shapes.count("down_blocks.#.resnets.0.conv1.weight");
  const each = Array.from({ length: levels }, (_, level) => level);
  const channels = each.map((level) => shapes.size(`down_blocks.${level}.resnets.0.conv1.weight`, 0));
  const middle = "mid_block.attentions.0.transformer_blocks";
  const depth = (level: number): number => {
    const places = [`down_blocks.${level}`, `up_blocks.${levels - 1 - level}`].map((block) =>
      shapes.count(`${block}.attentions.0.transformer_blocks.#.norm1.weight`),
    );
    // the middle has the depth of the last level, which may have no attention of its own
    const last = level === levels - 1 ? shapes.count(`${middle}.#.norm1.weight`) : 1;
    return places.find((count) => count > 0) ?? Math.max(1, last);
  };
  const attends = (side: string, level: number): boolean =>
    shapes.has(`${side}_blocks.${level}.attentions.0.norm.weight`);
  const linear = !shapes.has("mid_block.attentions.0.proj_in.weight") || unet.entries.get("mid_block.attentions.0.proj_in.weight")!.shape.length === 2; // prettier-ignore
  const added = "add_embedding.linear_1.weight";
  return {
    decided: {
      _class_name: "UNet2DConditionModel",
      in_channels: shapes.size("conv_in.weight", 1),
      out_channels: shapes.size("conv_out.weight", 0),
      block_out_channels: channels,
      layers_per_block: shapes.count("down_blocks.0.resnets.#.conv1.weight"),
      down_block_types: each.map((level) => (attends("down", level) ? "CrossAttnDownBlock2D" : "DownBlock2D")),
      up_block_types: each.map((level) => (attends("up", level) ? "CrossAttnUpBlock2D" : "UpBlock2D")),
      transformer_layers_per_block: each.map(depth),
      cross_attention_dim: shapes.size(`${middle}.0.attn2.to_k.weight`, 1),
      use_linear_projection: linear,
      ...(shapes.has(added)
        ? { addition_embed_type: "text_time", projection_class_embeddings_input_dim: shapes.size(added, 1) }
        : {}),
    },
    presumed: {
      // diffusers' misnomer: the number of heads
      attention_head_dim: family === "sd1" ? 8 : channels.map(heads),
      norm_num_groups: 32,
      norm_eps: 1e-5,
      act_fn: "silu",
      ...(shapes.has(added) ? { addition_time_embed_dim: SIZE_CHANNELS } : {}),
    },
  };
}

/** What latents are multiplied by. */
const SCALING: Readonly<Record<SingleFileFamily, number>> = { sd1: 0.18215, sd2: 0.18215, sdxl: 0.13025 };

/** The autoencoder's. */
export function autoencoderConfigOf({ vae, family }: Pick<SingleFile, "vae" | "family">): InferredConfig {
  const shapes = new Shapes(vae);
  const levels = shapes.count("decoder.up_blocks.#.resnets.0.conv1.weight");
  const channels = Array.from({ length: levels }, (_, i) =>
    shapes.size(`decoder.up_blocks.${levels - 1 - i}.resnets.0.conv1.weight`, 0),
  );
  return {
    decided: {
      _class_name: "AutoencoderKL",
      in_channels: 3,
      out_channels: shapes.size("decoder.conv_out.weight", 0),
      latent_channels: shapes.size("decoder.conv_in.weight", 1),
      block_out_channels: channels,
      // the decoder has one more
      layers_per_block: shapes.count("decoder.up_blocks.0.resnets.#.conv1.weight") - 1,
      down_block_types: channels.map(() => "DownEncoderBlock2D"),
      up_block_types: channels.map(() => "UpDecoderBlock2D"),
      use_post_quant_conv: shapes.has("post_quant_conv.weight"),
      use_quant_conv: shapes.has("quant_conv.weight") || !shapes.has("encoder.conv_in.weight"),
    },
    presumed: { norm_num_groups: 32, act_fn: "silu", scaling_factor: SCALING[family] },
  };
}

/** A text encoder's. @param open OpenCLIP's, with another activation and padding than CLIP's */
export function textConfigOf(source: WeightSource, open: boolean): InferredConfig {
  const shapes = new Shapes(source);
  const tokens = "text_model.embeddings.token_embedding.weight";
  const width = shapes.size(tokens, 1);
  const projection = shapes.has("text_projection.weight");
  return {
    decided: {
      model_type: "clip_text_model",
      hidden_size: width,
      intermediate_size: shapes.size("text_model.encoder.layers.0.mlp.fc1.weight", 0),
      num_hidden_layers: shapes.count("text_model.encoder.layers.#.mlp.fc1.weight"),
      vocab_size: shapes.size(tokens, 0),
      max_position_embeddings: shapes.size("text_model.embeddings.position_embedding.weight", 0),
      ...(projection ? { projection_dim: shapes.size("text_projection.weight", 0) } : {}),
    },
    presumed: {
      num_attention_heads: heads(width),
      hidden_act: open ? "gelu" : "quick_gelu",
      layer_norm_eps: 1e-5,
      bos_token_id: 0,
      // the historical value of all these files: the end of text is the largest id
      eos_token_id: 2,
      pad_token_id: 1,
    },
  };
}
