/** @file BLIP score: the cosine between BLIP's projected embeddings of prompt and image, each encoded alone (Li et al., arXiv 2201.12086). */

import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { input, reshape, slice } from "../graph/builder.js";
import { CLIP_PREPROCESSING } from "../image/preprocess.js";
import { buildBlipText, buildBlipVision } from "../models/blip.js";
import {
  type BlipTextConfig,
  type BlipVisionConfig,
  readBlipMed,
  readBlipShapes,
  ShapeReader,
} from "../models/blip-config.js";
import { batchOf } from "../nn/dimension.js";
import { linear } from "../nn/linear.js";
import type { Device } from "../runtime/device.js";
import { openBertTokenizer } from "../tokenizers/bert.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import { parseJson, readText, readTextIfThere } from "../util/read-file.js";
import { BLIP_IGNORED_KEYS, renameBlip } from "../weights/layouts/blip.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightEntry, WeightSource } from "../weights/types.js";
import { checkBatch, DEFAULT_BATCH, wordPieceFeeds } from "./batched.js";
import { inputName, type ScoreReference } from "./contract.js";
import { DualEncoder, dualEncoderParts } from "./dual-encoder.js";
import { buildCosine, type DualNetwork, dualNetwork } from "./dual-network.js";
import { scoreGraph } from "./pixel-gradient.js";

const NAME = "blip-score";
/** Of BLIP-large. */
const REFERENCE: ScoreReference = {
  mean: 0.4,
  std: 0.07,
  source: "a convention for BLIP-large: cosines of pictures and their captions lie about 0.3 to 0.5",
};
/** Tokens a prompt is padded or cut to, as ImageReward's BLIPScore has it. */
const MAX_TEXT_LENGTH = 35;
const NAMES = { vision: "visual_encoder", text: "text_encoder" };

/** Where the parts lie, if not beside the weights, and how much is scored together. */
export interface BlipScoreOptions {
  /** `med_config.json`, or the config.json of transformers. @default beside the weights */
  readonly config?: string | undefined;
  /** A folder with the tokenizer, or its `vocab.txt`. @default the folder of the weights */
  readonly tokenizer?: string | undefined;
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
  /** For ensembles. @default that of BLIP-large */
  readonly reference?: ScoreReference | undefined;
}

/** The sizes of both encoders and of what they project to. */
interface BlipConfig {
  readonly vision: BlipVisionConfig;
  readonly text: BlipTextConfig;
  readonly projection: number;
}

/**
 * Opens BLIP-large: Salesforce's `model_large.pth`, the BLIP inside of an ImageReward file, or transformers' `BlipForImageTextRetrieval`, with
 * `med_config.json` (or config.json) and the tokenizer's `vocab.txt` beside the weights or where `options` say. As ImageReward's BLIPScore: 35 tokens, and the
 * images as CLIP crops them.
 * @throws ModelError when a part is missing or the weights are of another network
 */
export async function openBlipScore(
  path: string,
  device: Device,
  options: BlipScoreOptions = {},
): Promise<DualEncoder> {
  const { batch = DEFAULT_BATCH, reference = REFERENCE } = options;
  checkBatch(batch);
  const absolute = resolve(path);
  const folder = (await isFolder(absolute)) ? absolute : dirname(absolute);
  const source = await openWeights(absolute);
  const config = await readConfig(source, absolute, options.config, folder);
  const length = Math.min(MAX_TEXT_LENGTH, config.text.maxPositions);
  const tokenizer = await openBertTokenizer(options.tokenizer ?? folder, { maxLength: length });
  const { vocabulary } = config.text;
  // the two tokens that BLIP adds may be missing from a small vocabulary: no prompt needs them
  if (tokenizer.vocabularySize - 2 > vocabulary) {
    throw new ModelError(
      `${options.tokenizer ?? folder}: expected a vocabulary of ${vocabulary} tokens as in ${absolute}, got ${tokenizer.vocabularySize}`,
    );
  }
  const keys = { image: config.vision, text: [config.text, options.tokenizer ?? folder] };
  const network = blipNetwork(config, tokenizer, resolveBlip(config, length, source), keys);
  const model = { name: basename(absolute), path: absolute };
  const facts = { name: NAME, model, range: [0, 0.6] as const, reference };
  return new DualEncoder(device, await dualEncoderParts(device, network, batch, facts));
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (entry) => entry.isDirectory(),
    () => false,
  );
}

async function readConfig(
  source: WeightSource,
  path: string,
  given: string | undefined,
  folder: string,
): Promise<BlipConfig> {
  const shapes = new Map([...source.entries].map(([key, entry]) => [renameBlip(key), entry.shape]));
  const reader = new ShapeReader(shapes);
  const { vision, text } = readBlipShapes(reader, NAMES);
  const [projection = 1] = reader.of("vision_proj.weight", 2);
  reader.finish(`${path}: not a BLIP checkpoint`);
  const { med, where } = await readMed(given, folder);
  const heads = Math.max(1, Math.floor(vision.width / 64));
  return { vision: { ...vision, heads }, text: { ...text, ...readBlipMed(med, text, where) }, projection };
}

/** The text encoder's configuration: a file of its own, or a part of transformers'. */
async function readMed(given: string | undefined, folder: string): Promise<{ med: unknown; where: string }> {
  const expected = "the text encoder's configuration";
  const own = join(folder, "med_config.json");
  const beside = given === undefined && (await readTextIfThere(own, { expected })) === undefined;
  const where = given ?? (beside ? join(folder, "config.json") : own);
  const json = parseJson(await readText(where, { expected }), where) as { text_config?: unknown } | null;
  return json?.text_config === undefined ? { med: json, where } : { med: json.text_config, where };
}

function encoders(config: BlipConfig, length: number): Pick<DualNetwork, "buildImage" | "buildText"> {
  const { vision, text, projection } = config;
  return {
    buildImage(scope, pixels) {
      const { rows, length: tokens } = buildBlipVision(scope.at(NAMES.vision), vision, pixels);
      const first = slice(reshape(rows, [batchOf(pixels), tokens, vision.width]), 1, 0, 1);
      return linear(scope.at("vision_proj"), reshape(first, [batchOf(pixels), vision.width]), projection);
    },
    buildText(scope, batch) {
      const read = (name: string) => input(inputName(scope.prefix, name), "int64", [batch, length]);
      const tokens = { ids: read("ids"), mask: read("mask") };
      return linear(scope.at("text_proj"), buildBlipText(scope.at(NAMES.text), text, tokens, undefined), projection);
    },
  };
}

function resolveBlip(config: BlipConfig, length: number, source: WeightSource): ReadonlyMap<string, WeightEntry> {
  const parts = { ...encoders(config, length), factor: 1 };
  const build: DualNetwork["build"] = (scope, pixels) => buildCosine(scope, parts, pixels);
  const whole = scoreGraph(NAME, { imageSize: config.vision.imageSize, build }, "inference");
  return resolveWeights(whole.parameters, source, {
    where: "BLIP",
    rename: (key) => {
      const name = renameBlip(key);
      return BLIP_IGNORED_KEYS.some((pattern) => pattern.test(name)) ? undefined : name;
    },
  });
}

function blipNetwork(
  config: BlipConfig,
  tokenizer: DescribedTokenizer,
  weights: ReadonlyMap<string, WeightEntry>,
  keys: DualNetwork["keys"],
): DualNetwork {
  const { maxLength } = tokenizer;
  return dualNetwork({
    ...encoders(config, maxLength),
    imageSize: config.vision.imageSize,
    preprocessing: CLIP_PREPROCESSING,
    factor: 1,
    tokenizer,
    weights,
    keys,
    textFeeds: (prefix, prompts) => wordPieceFeeds(NAME, tokenizer, config.text.vocabulary, prefix, prompts),
  });
}
