/** @file The files of an ImageReward of the published size with random weights, and pictures for it to score. */

import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gemm, graph, input } from "../dist/graph/builder.js";
import { encodePng } from "../dist/image/png.js";
import { buildImageReward } from "../dist/models/image-reward.js";
import { rootScope } from "../dist/nn/scope.js";
import { writeRandomCheckpoint } from "./checkpoint.js";

const SEED = 20230412;

/** ImageReward v1.0: ViT-L/16 at 224, BERT base that looks at it, five linear layers. */
const CONFIG = {
  vision: { imageSize: 224, patchSize: 16, width: 1024, inner: 4096, layers: 24, heads: 16 },
  text: {
    vocabulary: 30524,
    maxPositions: 512,
    width: 768,
    inner: 3072,
    layers: 12,
    heads: 12,
    activation: "gelu",
    epsilon: 1e-12,
  },
  head: [0, 2, 4, 6, 7].map((index, i) => ({ index, width: [1024, 128, 64, 16, 1][i] })),
  maxTextLength: 35,
  scoreMean: 0,
  scoreStd: 1,
};

/** What a published checkpoint holds beside what the score is computed from. */
const UNUSED = [
  ["blip.text_encoder.embeddings.position_ids", { shape: [1, 512], dtype: "int64" }],
  ["blip.vision_proj.weight", { shape: [256, 1024] }],
  ["blip.vision_proj.bias", { shape: [256] }],
  ["blip.text_proj.weight", { shape: [256, 768] }],
  ["blip.text_proj.bias", { shape: [256] }],
];

const MED = {
  architectures: ["BertModel"],
  hidden_act: "gelu",
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 512,
  vocab_size: 30524,
  layer_norm_eps: 1e-12,
  hidden_dropout_prob: 0.1,
  attention_probs_dropout_prob: 0.1,
  initializer_range: 0.02,
  pad_token_id: 0,
  type_vocab_size: 2,
  model_type: "bert",
  add_cross_attention: true,
  encoder_width: 1024,
};

/** The prompt, all of whose words are in the vocabulary. */
export const PROMPT = "a painting of an ocean with clouds and birds , day time , low depth field effect";

/** Side of the pictures. */
const SIDE = 512;

/** Writes what is missing of the model into `folder`; resolves to the seconds the weights took, 0 if they were there. */
export async function writeImageReward(folder) {
  await mkdir(folder, { recursive: true });
  const words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ...new Set(PROMPT.split(" "))];
  const unused = Array.from({ length: 30522 - words.length }, (_, i) => `[unused${i}]`);
  await writeFile(join(folder, "vocab.txt"), [...words, ...unused, ""].join("\n"));
  await writeFile(join(folder, "med_config.json"), JSON.stringify(MED));
  const path = join(folder, "ImageReward.safetensors");
  const there = await stat(path).catch(() => undefined);
  if (there !== undefined) return 0;
  const started = performance.now();
  await writeRandomCheckpoint(path, new Map([...parameters(), ...UNUSED]), SEED);
  return (performance.now() - started) / 1000;
}

function parameters() {
  const ids = (name) => input(name, "int64", ["N", CONFIG.maxTextLength]);
  const pixels = input("pixels", "float32", ["N", 3, 224, 224]);
  const score = buildImageReward(rootScope({ mode: "inference" }), CONFIG, {
    pixels,
    ids: ids("ids"),
    mask: ids("mask"),
  });
  return [...graph("image-reward", { score }).parameters].map(([name, { shape }]) => [name, { shape }]);
}

/** Smooth coloured patterns, each different, also written as PNG files into `folder`. */
export async function writePictures(folder, count) {
  const pictures = [];
  for (let picture = 0; picture < count; picture++) {
    const data = new Uint8Array(SIDE * SIDE * 3);
    for (let i = 0; i < data.length; i++) {
      const [x, y, channel] = [Math.floor(i / 3) % SIDE, Math.floor(i / 3 / SIDE), i % 3];
      const wave = Math.sin((x * (1 + picture) + 7 * y) / (20 + 9 * channel)) + Math.cos((y * (2 + picture)) / 31);
      data[i] = 127.5 + 63 * wave;
    }
    const file = join(folder, `picture-${picture}.png`);
    await writeFile(file, await encodePng({ width: SIDE, height: SIDE, data }));
    pictures.push({ file, image: { width: SIDE, height: SIDE, data } });
  }
  return pictures;
}

/** Rows an image gives the vision transformer, 14 x 14 patches and the class token, and their width. */
export const [VISION_TOKENS, VISION_WIDTH] = [197, 1024];
/** Blocks whose weights the products use: 302 MB, far more than any cache holds. */
const PRODUCT_BLOCKS = 6;

/** The products of the vision transformer's blocks, with their own weights. */
export function visionProducts(scope, rows) {
  let state = rows;
  return Array.from({ length: PRODUCT_BLOCKS }, (_, index) => {
    const block = scope.at("blip", "visual_encoder", "blocks", index);
    const product = (x, name, shape) =>
      gemm(x, block.at(...name).parameter("weight", shape), undefined, { transB: true });
    state = product(state, ["mlp", "fc1"], [4096, 1024]);
    state = product(state, ["mlp", "fc2"], [1024, 4096]);
    state = product(state, ["attn", "proj"], [1024, 1024]);
    return product(state, ["attn", "qkv"], [3072, 1024]);
  });
}
