/** @file Configurations with missing, wrong, contradictory and absurd values: refused before any memory is spent on them. */

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { change, layOut, type MODELS, openClip, openDiffusion, openReward } from "./models.js";
import type { HostileCase, Table } from "./runner.js";

const OPEN = { diffusion: openDiffusion, clip: openClip, reward: openReward } as const;

type Fields = Readonly<Record<string, unknown>>;
type Row = readonly [fields: Fields, message: RegExp];

/** Cases of one file of a good model, each with other fields changed. */
function fields(model: keyof typeof MODELS, file: string, rows: readonly Row[], at = file): HostileCase[] {
  return rows.map(([wrong, message]) => ({
    name: `${file} ${JSON.stringify(wrong).slice(0, 80)}`,
    message,
    at,
    open: OPEN[model],
    make: (folder) => {
      layOut(model, folder);
      change(join(folder, file), wrong);
      return folder;
    },
  }));
}

/** Cases of one file of a good model with another text in it. */
function texts(model: keyof typeof MODELS, file: string, rows: readonly (readonly [string, RegExp])[]): HostileCase[] {
  return rows.map(([text, message]) => ({
    name: `${file} ${JSON.stringify(text.slice(0, 40))}`,
    message,
    at: file,
    open: OPEN[model],
    make: (folder) => {
      layOut(model, folder);
      writeFileSync(join(folder, file), text);
      return folder;
    },
  }));
}

/** Texts that are no configuration, whatever the file. */
const NOT_JSON: readonly (readonly [string, RegExp])[] = [
  ["{", /expected JSON, got/],
  ["[1, 2]", /expected (a JSON |an )?object, (got (an array|\[1,2\])|received array)/],
  ["null", /expected (a JSON |an )?object, (got|received) null/],
  ["\u0000\u0001", /expected JSON, got/],
  ['{"a":'.repeat(100_000), /expected JSON of at most 64 levels, got deeper nesting/],
  [`{"_x":${"[".repeat(65)}${"]".repeat(65)}}`, /expected JSON of at most 64 levels/],
  [`{"x":"${"a".repeat(17 << 20)}"}`, /more than the \d+ it may have/],
];

function missing(model: keyof typeof MODELS, file: string): HostileCase {
  return {
    name: `no ${file}`,
    message: /expected .*, got (no such file|no file|neither)|expected the merges/,
    at: file,
    open: OPEN[model],
    make: (folder) => {
      layOut(model, folder);
      rmSync(join(folder, file));
      return folder;
    },
  };
}

const UNET: readonly Row[] = [
  [{ attention_head_dim: -4 }, /attention_head_dim: expected a whole number/],
  [{ attention_head_dim: 7 }, /attention_head_dim: expected a number of heads that divides/],
  [{ attention_head_dim: 1e9 }, /attention_head_dim: expected a whole number from 1 to 1048576/],
  [{ attention_head_dim: "8" }, /attention_head_dim: expected .*got "8"/],
  [{ layers_per_block: 1e9 }, /layers_per_block: expected a whole number from 1 to 256/],
  [{ layers_per_block: 0 }, /layers_per_block: expected/],
  [{ layers_per_block: 256 }, /expected at most 256 blocks in all, got 5\d\d|expected at most 256 blocks/],
  [{ transformer_layers_per_block: 256 }, /expected at most 256 blocks in all/],
  [{ transformer_layers_per_block: 1e15 }, /transformer_layers_per_block: expected/],
  [{ block_out_channels: [] }, /block_out_channels: expected a list/],
  [
    { block_out_channels: Array.from({ length: 100_000 }, () => 32) },
    /block_out_channels: expected a list of at most 12/,
  ],
  [{ block_out_channels: [32, -64] }, /block_out_channels: expected a list/],
  [{ block_out_channels: [1e15, 1e15] }, /block_out_channels: expected a list/],
  [{ block_out_channels: [32] }, /down_block_types, up_block_types: expected 1 each/],
  [{ block_out_channels: [31, 64] }, /norm_num_groups: expected a divisor|an even first entry/],
  [{ down_block_types: ["os.system", "DownBlock2D"] }, /down_block_types: expected a list of/],
  [{ norm_num_groups: 0 }, /norm_num_groups: expected/],
  [{ norm_num_groups: 1e9 }, /norm_num_groups: expected/],
  [{ norm_eps: 0 }, /norm_eps: expected a number above 0, got 0/],
  [{ norm_eps: "NaN" }, /norm_eps: expected a number above 0/],
  [{ sample_size: 1e9 }, /sample_size: expected a whole number from 1 to 8192/],
  [{ sample_size: [8, 16] }, /sample_size: expected/],
  [{ in_channels: 1e9 }, /in_channels: expected a whole number from 1 to 1048576/],
  [{ cross_attention_dim: 1e300 }, /cross_attention_dim: expected/],
  [{ downsample_padding: 9 }, /downsample_padding: expected 0 or 1/],
  [{ conv_in_kernel: 1e9 }, /conv_in_kernel: expected 3/],
  [{ mid_block_type: "Evil" }, /mid_block_type: expected one of/],
  [{ constructor: 1 }, /constructor: expected no such field/],
  [{ toString: 1 }, /toString: expected no such field/],
  [{ "new\nfield": 1 }, /new field: expected no such field/],
];

const VAE: readonly Row[] = [
  [{ layers_per_block: 1e9 }, /layers_per_block: expected a whole number from 1 to 256/],
  [{ block_out_channels: Array.from({ length: 13 }, () => 32) }, /block_out_channels: expected a list of at most 12/],
  [{ latent_channels: -1 }, /latent_channels: expected/],
  [{ latent_channels: 1e300 }, /latent_channels: expected/],
  [{ scaling_factor: 0 }, /scaling_factor: expected a number above 0/],
  [{ scaling_factor: "0.18" }, /scaling_factor: expected/],
  [{ scaling_factor: -1 }, /scaling_factor: expected/],
  [{ norm_num_groups: 7 }, /norm_num_groups: expected a divisor/],
  [{ down_block_types: ["DownEncoderBlock2D"] }, /down_block_types: expected \d as block_out_channels/],
];

const TEXT: readonly Row[] = [
  [{ num_attention_heads: -2 }, /num_attention_heads: expected a whole number/],
  [{ num_attention_heads: 7 }, /num_attention_heads: expected a divisor of hidden_size/],
  [{ num_attention_heads: 0.5 }, /num_attention_heads: expected a whole number/],
  [{ num_hidden_layers: 1e9 }, /num_hidden_layers: expected a whole number from 1 to 256/],
  [{ hidden_size: 1e15 }, /hidden_size: expected a whole number from 1 to 1048576/],
  [{ vocab_size: 1e15 }, /vocab_size: expected/],
  [{ max_position_embeddings: 1e6 }, /max_position_embeddings: expected a whole number from 1 to 2048/],
  [{ layer_norm_eps: -1 }, /layer_norm_eps: expected a number above 0/],
  [{ hidden_act: "constructor" }, /hidden_act: expected one of/],
  [{ eos_token_id: -1 }, /eos_token_id: expected/],
  [{ intermediate_size: null, hidden_size: null, num_hidden_layers: "12" }, /num_hidden_layers: expected/],
];

const SCHEDULER: readonly Row[] = [
  [{ num_train_timesteps: 1e9 }, /num_train_timesteps: expected a whole number in \[1, 100000\]/],
  [{ num_train_timesteps: -1 }, /num_train_timesteps: expected/],
  [{ num_train_timesteps: "1000" }, /num_train_timesteps: expected/],
  [{ beta_start: 0 }, /beta_start, beta_end: expected 0 < beta_start/],
  [{ beta_start: 0.5, beta_end: 0.1 }, /beta_start, beta_end: expected 0 < beta_start/],
  [{ beta_end: 1 }, /beta_start, beta_end: expected 0 < beta_start/],
  [{ beta_end: 2 }, /beta_end: expected a number in \[0, 1\]/],
  [{ beta_schedule: "__proto__" }, /beta_schedule: expected/],
  [{ prediction_type: "flow" }, /prediction_type: expected/],
  [{ steps_offset: 1e9 }, /steps_offset: expected/],
  [{ constructor: 1 }, /constructor: expected a field of/],
  [{ toString: { a: 1 } }, /toString: expected a field of/],
  [{ hasOwnProperty: "x" }, /hasOwnProperty: expected a field of/],
  [{ clip_sample: "yes" }, /clip_sample: expected true or false/],
  [{ mystery: "x".repeat(1e6) }, /mystery: expected a field of/],
  [{ _class_name: "FlowMatchEulerDiscreteScheduler" }, /_class_name: expected a scheduler of discrete diffusion/],
];

const STATED: readonly Row[] = [
  [{ steps: -1 }, /steps: /],
  [{ steps: 1.5 }, /steps: /],
  [{ guidance: "7" }, /guidance: /],
  [{ eta: 2 }, /eta: /],
  [{ width: 100_000, height: 100_000 }, /expected sides that are multiples/],
  [{ width: 65 }, /expected sides that are multiples/],
  [{ sampler: "constructor" }, /sampler: /],
  [{ unknown: 1 }, /unknown/i],
  [{ name: "" }, /name: /],
];

const INDEX: readonly Row[] = [
  [{ _class_name: "StableDiffusion3Pipeline" }, /_class_name: expected StableDiffusionPipeline/],
  [{ _class_name: "StableDiffusionXLPipeline" }, /text_encoder_2: expected CLIPTextModelWithProjection, got "none"/],
  [{ _class_name: undefined }, /_class_name: expected StableDiffusionPipeline/],
  [{ unet: ["diffusers", "UNet3DConditionModel"] }, /unet: expected UNet2DConditionModel/],
  [{ vae: [null, null] }, /vae: expected AutoencoderKL, got "none"|vae: expected AutoencoderKL/],
  [{ text_encoder: 5 }, /text_encoder: expected CLIPTextModel, got 5/],
  [{ unet: undefined, vae: undefined }, /unet: .*; vae: /],
];

const MED: readonly Row[] = [
  [{ hidden_size: 1e9 }, /hidden_size: expected/],
  [{ hidden_size: 48 }, /hidden_size: expected \d+ as in the checkpoint, got 48/],
  [{ num_attention_heads: -1 }, /num_attention_heads: expected/],
  [{ num_attention_heads: 1e9 }, /num_attention_heads: expected/],
  [{ num_hidden_layers: 1e9 }, /num_hidden_layers: expected/],
  [{ hidden_act: "evil" }, /hidden_act: expected one of/],
  [{ layer_norm_eps: 0 }, /layer_norm_eps: expected a number above 0/],
  [{ add_cross_attention: false }, /add_cross_attention: expected true/],
  [{ vocab_size: 3 }, /vocab_size: expected \d+ as in the checkpoint/],
];

const OWN: readonly (readonly [string, RegExp])[] = [
  ['{"vision_heads":-1}', /vision_heads: expected/],
  ['{"vision_heads":7}', /vision_heads: expected a divisor/],
  ['{"max_text_length":100000}', /max_text_length: expected/],
  ['{"score_std":0}', /score_std: expected a number above 0/],
  ['{"score_sdt":1}', /score_sdt: expected no such field/],
  ['{"image_size":224000}', /image_size: expected/],
  ['{"patch_size":0}', /patch_size: expected/],
  ...NOT_JSON,
];

const TOKENIZER: readonly Row[] = [
  [{ model_max_length: -1 }, /expected a maximal length of 3 tokens or more, got -1|model_max_length/],
  [{ model_max_length: 100_000 }, /tokenizer.*expected at most \d+ tokens/],
  [{ bos_token: "nowhere" }, /got none for nowhere/],
  [{ added_tokens_decoder: { "1e9": { content: "x" } } }, /added_tokens_decoder\.1e9/],
  [{ added_tokens_decoder: { "99999999999": { content: "x" } } }, /added_tokens_decoder\.99999999999/],
  [{ added_tokens_decoder: { "1": 5 } }, /added_tokens_decoder\.1/],
  [{ added_tokens_decoder: { "30000000": "x" } }, /added_tokens_decoder\.30000000/],
];

const VOCABULARY: readonly (readonly [string, RegExp])[] = [
  ['{"a":-1}', /expected a whole number as id of "a", got -1/],
  ['{"a":1.5}', /expected a whole number as id of "a"/],
  ['{"a":1e300}', /expected a whole number as id of "a"/],
  ['{"a":"1"}', /expected a whole number as id of "a"/],
  ['{"a":0,"b":0}', /expected every id once, got 0 for "a" and "b"/],
  ["{}", /got an empty vocabulary/],
  ...NOT_JSON.filter(([text]) => text.length < 1 << 24),
];

/** What opening a model must refuse of its configurations. */
export const CONFIGS: Table = {
  title: "configuration",
  cases: [
    ...fields("diffusion", "unet/config.json", UNET),
    ...fields("diffusion", "vae/config.json", VAE),
    ...fields("diffusion", "text_encoder/config.json", TEXT),
    ...fields("diffusion", "scheduler/scheduler_config.json", SCHEDULER),
    ...fields("diffusion", "model_index.json", INDEX),
    ...[
      "unet/config.json",
      "vae/config.json",
      "text_encoder/config.json",
      "scheduler/scheduler_config.json",
      "model_index.json",
      "laurel.json",
    ].flatMap((file) => texts("diffusion", file, NOT_JSON)),
    ...[
      "unet/config.json",
      "vae/config.json",
      "text_encoder/config.json",
      "scheduler/scheduler_config.json",
      "model_index.json",
    ].map((file) => missing("diffusion", file)),
    ...STATED.flatMap(([wrong, message]) => texts("diffusion", "laurel.json", [[JSON.stringify(wrong), message]])),
    ...fields(
      "diffusion",
      "unet/config.json",
      [
        [{ in_channels: 3 }, /unet in_channels .*expected \d+, got 3/],
        [{ cross_attention_dim: 48 }, /unet cross_attention_dim .*expected/],
      ],
      "",
    ),
    ...fields("diffusion", "vae/config.json", [[{ shift_factor: 0.5 }, /vae shift_factor: expected 0, got 0.5/]], ""),
    ...fields("diffusion", "tokenizer/tokenizer_config.json", TOKENIZER, ""),
    ...texts("diffusion", "tokenizer/vocab.json", VOCABULARY),
    ...texts("diffusion", "tokenizer/merges.txt", [["#version\na b c\n", /expected two symbols in merge 1/]]),
    missing("diffusion", "tokenizer/merges.txt"),
    ...fields("clip", "config.json", [
      [{ projection_dim: 1e9 }, /projection_dim: expected/],
      [{ model_type: "bert" }, /model_type: expected "clip"/],
      [{ text_config: 5 }, /text_config: expected a JSON object/],
      [{ "vision_config.image_size": 1e9 }, /vision_config: image_size: expected a whole number from 1 to 8192/],
      [{ "vision_config.patch_size": 4096 }, /patch_size: expected at most the image_size/],
      [{ "vision_config.num_channels": 4 }, /num_channels: expected 3/],
      [{ "vision_config.num_attention_heads": -3 }, /num_attention_heads: expected/],
    ]),
    ...fields("reward", "med_config.json", MED, ""),
    ...NOT_JSON.slice(0, 6).map((row) => ({ ...texts("reward", "med_config.json", [row])[0]!, at: "" })),
    missing("reward", "med_config.json"),
    ...OWN.map((row) => ({ ...texts("reward", "config.json", [row])[0]!, at: "" })),
  ],
};
