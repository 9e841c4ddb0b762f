/** @file Single-file checkpoints of Stable Diffusion: which family's they are, and the tensors of each component in place. */

import { ModelError } from "../../errors.js";
import type { WeightSource } from "../types.js";
import { ldmAutoencoder, ldmClip, ldmOpenClip, ldmUnet } from "./ldm.js";
import { type Layout, relayout } from "./relayout.js";

/** Families of single files: Stable Diffusion 1.x, 2.x, and XL. */
export type SingleFileFamily = "sd1" | "sd2" | "sdxl";

/** The components of a single file under the names of diffusers and transformers. */
export interface SingleFile {
  readonly family: SingleFileFamily;
  readonly unet: WeightSource;
  readonly vae: WeightSource;
  readonly textEncoder: WeightSource;
  /** Only of the family "sdxl". */
  readonly textEncoder2: WeightSource | undefined;
}

/** How a single file is read. */
export interface SingleFileOptions {
  /** Takes the denoiser's exponential moving averages, which some files keep beside the weights. @default false */
  readonly ema?: boolean | undefined;
}

const UNET = "model.diffusion_model.";
const EMA = "model_ema.";
const AUTOENCODERS = ["first_stage_model.", "vae."];
const TEXT = { sd1: "cond_stage_model.transformer.", sd2: "cond_stage_model.model." } as const;
const XL_TEXT = ["conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."] as const;
/** OpenCLIP's blocks in Stable Diffusion XL: all of them, whose number is the file's. */
const ALL = Infinity;

/** What other files are, by a key that only they have. */
const OTHERS: readonly (readonly [pattern: RegExp, what: string])[] = [
  [/^conditioner\.embedders\.0\.model\./, "Stable Diffusion XL's refiner, which is not supported"],
  [/(^|\.)joint_blocks\.\d+\./, "Stable Diffusion 3, which is not supported"],
  [/(^|\.)double_blocks\.\d+\./, "FLUX, which is not supported"],
  [/^control_model\.|^controlnet_/, "a ControlNet, which is not supported"],
  [/^lora_(unet|te)|\.lora_(A|B|down|up)\b|\.lora\.(down|up)\./, "a LoRA; give it with --lora"],
  [/^string_to_param\.|^emb_params$/, "a textual inversion; give it with --embedding"],
  [/^visual\.|^vision_model\./, "a CLIP"],
  [/^(encoder|decoder)\.(mid|up|down)\./, "an autoencoder alone"],
  [
    /^(down_blocks|up_blocks|mid_block|text_model)\.|^decoder\.up_blocks\./,
    "one component in diffusers' or transformers' layout; give the folder with model_index.json",
  ],
];

/**
 * Tells the family by the keys, and finds the components.
 * @throws ModelError for a file of another kind, or one that lacks a component, naming what it lacks
 */
export function readSingleFile(source: WeightSource, options: SingleFileOptions = {}): SingleFile {
  const keys = [...source.entries.keys(), ...source.unusable.keys()];
  const has = (prefix: string): boolean => keys.some((key) => key.startsWith(prefix));
  const vae = AUTOENCODERS.find(has);
  const family = familyOf(has);
  const lacking = [
    ...(has(UNET) ? [] : [`the denoiser (${UNET}*)`]),
    ...(vae === undefined ? [`the autoencoder (${AUTOENCODERS.join("* or ")}*)`] : []),
    ...(family === undefined ? [`the text encoder (cond_stage_model.* or conditioner.embedders.*)`] : []),
    ...(family === "sdxl"
      ? XL_TEXT.filter((prefix) => !has(prefix)).map((prefix) => `a text encoder (${prefix}*)`)
      : []),
  ];
  if (vae === undefined || family === undefined || lacking.length > 0) {
    const other = OTHERS.find(([pattern]) => keys.some((key) => pattern.test(key)))?.[1];
    const got = other ?? `one without ${lacking.join(", ")}`;
    throw new ModelError(`${source.description}: expected a single-file checkpoint of Stable Diffusion, got ${got}`);
  }
  const part = (layout: Layout, prefix: string, what: string): WeightSource =>
    relayout(source, layout, { prefix, description: `${source.description} (${what})` });
  const autoencoder = part(ldmAutoencoder(count(keys, vae, /^decoder\.up\.(\d+)\./)), vae, "vae");
  const clip = { vae: autoencoder, unet: openUnet(source, keys, options), family };
  if (family === "sdxl") {
    return {
      ...clip,
      textEncoder: part(ldmClip, XL_TEXT[0], "text_encoder"),
      textEncoder2: part(ldmOpenClip(ALL, true), XL_TEXT[1], "text_encoder_2"),
    };
  }
  const blocks = count(keys, TEXT.sd2, /^transformer\.resblocks\.(\d+)\./);
  const layout = family === "sd1" ? ldmClip : ldmOpenClip(blocks - 1, false);
  return { ...clip, textEncoder: part(layout, TEXT[family], "text_encoder"), textEncoder2: undefined };
}

function familyOf(has: (prefix: string) => boolean): SingleFileFamily | undefined {
  if (has(XL_TEXT[1])) return "sdxl";
  if (has(TEXT.sd2)) return "sd2";
  return has(TEXT.sd1) ? "sd1" : undefined;
}

/** One more than the largest number that `pattern` finds. */
function count(keys: readonly string[], prefix: string, pattern: RegExp): number {
  let most = -1;
  for (const key of keys) {
    const number = key.startsWith(prefix) ? pattern.exec(key.slice(prefix.length))?.[1] : undefined;
    if (number !== undefined) most = Math.max(most, Number(number));
  }
  return most + 1;
}

/** The denoiser, or its averages. @throws ModelError when averages are asked for and there are none */
function openUnet(source: WeightSource, keys: readonly string[], { ema = false }: SingleFileOptions): WeightSource {
  const layout = ldmUnet(layersOf(keys));
  const description = `${source.description} (unet)`;
  if (!ema) return relayout(source, layout, { prefix: UNET, description });
  // averages are stored under the weight's name without its dots
  const names = new Map<string, string>();
  for (const key of keys) {
    if (key.startsWith(UNET)) names.set(key.slice("model.".length).replaceAll(".", ""), key.slice(UNET.length));
  }
  if (!keys.some((key) => key.startsWith(EMA) && names.has(key.slice(EMA.length)))) {
    throw new ModelError(`${source.description}: expected moving averages (${EMA}*) for the variant ema, got none`);
  }
  const averages: Layout = (key) => {
    const name = names.get(key);
    return name === undefined ? [] : layout(name);
  };
  return relayout(source, averages, { prefix: EMA, description: `${description}, moving averages` });
}

/** Resnets of a level: the first downsampling follows them. */
function layersOf(keys: readonly string[]): number {
  let first = Infinity;
  for (const key of keys) {
    const number = key.startsWith(UNET) ? /^input_blocks\.(\d+)\.0\.op\./.exec(key.slice(UNET.length))?.[1] : undefined;
    if (number !== undefined) first = Math.min(first, Number(number));
  }
  return first === Infinity ? Math.max(1, count(keys, UNET, /^input_blocks\.(\d+)\./) - 1) : first - 1;
}
