/**
 * @file Names of CompVis' latent diffusion code, which single-file checkpoints of Stable Diffusion keep, as diffusers calls them.
 * Source: https://github.com/huggingface/diffusers/blob/v0.38.0/src/diffusers/loaders/single_file_utils.py `convert_ldm_unet_checkpoint`,
 * `convert_ldm_vae_checkpoint`, `convert_open_clip_checkpoint`
 */

import { OPEN_CLIP_PROJECTIONS, openClipNames } from "./open-clip.js";
import { type Layout, layoutOf, type Place } from "./relayout.js";

const UNET_RESNET = layoutOf([
  [/^in_layers\.0\.(weight|bias)$/, "norm1.$1"],
  [/^in_layers\.2\.(weight|bias)$/, "conv1.$1"],
  [/^emb_layers\.1\.(weight|bias)$/, "time_emb_proj.$1"],
  [/^out_layers\.0\.(weight|bias)$/, "norm2.$1"],
  [/^out_layers\.3\.(weight|bias)$/, "conv2.$1"],
  [/^skip_connection\.(weight|bias)$/, "conv_shortcut.$1"],
]);

const UNET_ENDS = layoutOf([
  [/^time_embed\.0\.(weight|bias)$/, "time_embedding.linear_1.$1"],
  [/^time_embed\.2\.(weight|bias)$/, "time_embedding.linear_2.$1"],
  [/^label_emb\.0\.0\.(weight|bias)$/, "add_embedding.linear_1.$1"],
  [/^label_emb\.0\.2\.(weight|bias)$/, "add_embedding.linear_2.$1"],
  [/^input_blocks\.0\.0\.(weight|bias)$/, "conv_in.$1"],
  [/^out\.0\.(weight|bias)$/, "conv_norm_out.$1"],
  [/^out\.2\.(weight|bias)$/, "conv_out.$1"],
]);

/** A block by its number, a module within it by its number, and what is in that. */
const BLOCK = /^(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)$/;
const MIDDLE = /^middle_block\.(\d+)\.(.+)$/;

/** Keys of UNetModel, without `model.diffusion_model.`. @param layers resnets of each level on the way down */
export function ldmUnet(layers: number): Layout {
  return (key) => {
    const end = UNET_ENDS(key);
    if (end !== undefined) return end;
    const middle = MIDDLE.exec(key);
    if (middle !== null) {
      const [, module, rest = ""] = middle;
      return module === "1"
        ? [{ name: `mid_block.attentions.0.${rest}` }]
        : under(`mid_block.resnets.${module === "0" ? 0 : 1}`, UNET_RESNET(rest));
    }
    const block = BLOCK.exec(key);
    if (block === null) return undefined;
    const [, side, number = "", module, rest = ""] = block;
    const down = side === "input_blocks";
    // the first block of the way down is the convolution that all begins with
    const index = Number(number) - (down ? 1 : 0);
    const level = `${down ? "down" : "up"}_blocks.${Math.floor(index / (layers + 1))}`;
    const layer = index % (layers + 1);
    const sampling = down ? /^op\.(weight|bias)$/.exec(rest) : /^conv\.(weight|bias)$/.exec(rest);
    if (sampling !== null) return [{ name: `${level}.${down ? "down" : "up"}samplers.0.conv.${sampling[1]}` }];
    if (module === "0") return under(`${level}.resnets.${layer}`, UNET_RESNET(rest));
    return module === "1" ? [{ name: `${level}.attentions.${layer}.${rest}` }] : undefined;
  };
}

function under(prefix: string, places: readonly Place[] | undefined): readonly Place[] | undefined {
  return places?.map((place) => ({ ...place, name: `${prefix}.${place.name}` }));
}

const VAE_RESNET = layoutOf([
  [/^((?:norm|conv)[12]\.(?:weight|bias))$/, "$1"],
  [/^nin_shortcut\.(weight|bias)$/, "conv_shortcut.$1"],
]);

/** Attention between pixels: its projections are 1x1 convolutions here. */
const VAE_ATTENTION = layoutOf([
  [/^norm\.(weight|bias)$/, "group_norm.$1"],
  [/^([qkv])\.(weight|bias)$/, { name: "to_$1.$2", matrix: true }],
  [/^proj_out\.(weight|bias)$/, { name: "to_out.0.$1", matrix: true }],
]);

const VAE_ENDS = layoutOf([
  [/^((?:post_)?quant_conv\.(?:weight|bias))$/, "$1"],
  [/^((?:encoder|decoder)\.conv_(?:in|out)\.(?:weight|bias))$/, "$1"],
  [/^(encoder|decoder)\.norm_out\.(weight|bias)$/, "$1.conv_norm_out.$2"],
]);

const VAE_MIDDLE = /^(encoder|decoder)\.mid\.(block_1|block_2|attn_1)\.(.+)$/;
const VAE_BLOCK = /^(encoder\.down|decoder\.up)\.(\d+)\.block\.(\d+)\.(.+)$/;
const VAE_SAMPLING = /^(encoder\.down|decoder\.up)\.(\d+)\.(?:down|up)sample\.(conv\.(?:weight|bias))$/;

/** Keys of AutoencoderKL, without `first_stage_model.`. @param levels of the decoder, which are counted from the finest here */
export function ldmAutoencoder(levels: number): Layout {
  const level = (side: string, index: string): string => {
    return side === "decoder.up" ? `decoder.up_blocks.${levels - 1 - Number(index)}` : `encoder.down_blocks.${index}`;
  };
  return (key) => {
    const end = VAE_ENDS(key);
    if (end !== undefined) return end;
    const [, half, module, inner = ""] = VAE_MIDDLE.exec(key) ?? [];
    if (module === "attn_1") return under(`${half}.mid_block.attentions.0`, VAE_ATTENTION(inner));
    if (module !== undefined) {
      return under(`${half}.mid_block.resnets.${module === "block_1" ? 0 : 1}`, VAE_RESNET(inner));
    }
    const [, way, index = "", layer, rest = ""] = VAE_BLOCK.exec(key) ?? [];
    if (way !== undefined) return under(`${level(way, index)}.resnets.${layer}`, VAE_RESNET(rest));
    const [, side, number = "", convolution] = VAE_SAMPLING.exec(key) ?? [];
    if (side === undefined) return undefined;
    return [{ name: `${level(side, number)}.${side === "decoder.up" ? "up" : "down"}samplers.0.${convolution}` }];
  };
}

/** The names of transformers; the oldest files lack the first part. */
export const ldmClip: Layout = layoutOf([
  [/^(text_model\..+)$/, "$1"],
  [/^((?:embeddings|encoder|final_layer_norm)\..+)$/, "text_model.$1"],
]);

/**
 * The text tower of OpenCLIP, without its prefix.
 * @param layers kept, from the first: Stable Diffusion 2 leaves the last out, and with it what comes behind
 * @param projected keeps the projection of the pooled text
 */
export function ldmOpenClip(layers: number, projected: boolean): Layout {
  return (key) => {
    if (key === "logit_scale" || key === "attn_mask") return [];
    const names = openClipNames(key);
    if (names.length === 0) return undefined;
    if (names[0] === OPEN_CLIP_PROJECTIONS.text) {
      return projected ? [{ name: "text_projection.weight", transposed: true }] : [];
    }
    const layer = /^text_model\.encoder\.layers\.(\d+)\./.exec(names[0]!)?.[1];
    if (layer !== undefined && Number(layer) >= layers) return [];
    return names.map((name, index) => (names.length === 1 ? { name } : { name, part: { index, of: names.length } }));
  };
}
