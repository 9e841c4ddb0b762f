/** @file CLIP's dual encoder as a part of rewards: its files, and from pixels and the prompt's byte-pair tokens to the cosine. */

import { ModelError } from "../errors.js";
import { input } from "../graph/builder.js";
import type { Preprocessing } from "../image/preprocess.js";
import {
  buildClipImageEmbedding,
  buildClipTextEmbedding,
  CLIP_IGNORED_KEYS,
  type ClipConfig,
  parseClipConfig,
} from "../models/clip.js";
import { openClipTokenizer } from "../tokenizers/clip.js";
import type { DescribedTokenizer } from "../tokenizers/types.js";
import { parseJson, readText } from "../util/read-file.js";
import { isOpenClip, openClipSource } from "../weights/layouts/open-clip.js";
import { openWeights } from "../weights/open.js";
import { resolveWeights } from "../weights/resolve.js";
import type { WeightEntry, WeightSource } from "../weights/types.js";
import { encodePrompts, stackRows, truncationWarnings } from "./batched.js";
import { inputName } from "./contract.js";
import { buildCosine, type DualNetwork, dualNetwork } from "./dual-network.js";
import { scoreGraph } from "./pixel-gradient.js";

/** The name of the scale of the training's logits, which a cosine does without. */
const LOGIT_SCALE = "logit_scale";

/** Where a CLIP's parts lie. */
export interface ClipFiles {
  /** `config.json` of a CLIPModel of transformers; it also describes weights in OpenCLIP's layout. */
  readonly config: string;
  /** A weight file, or a folder with one under a standard name. */
  readonly weights: string;
  /** Folder of the tokenizer. */
  readonly tokenizer: string;
}

/** What a CLIP is read as. */
export interface ClipReading {
  /** Of the reward, for messages. */
  readonly name: string;
  readonly preprocessing: Preprocessing;
  /** Whether the cosine is multiplied with the exponential of the checkpoint's `logit_scale`. */
  readonly scaled: boolean;
}

/** An opened CLIP. */
export interface OpenedClip {
  readonly config: ClipConfig;
  readonly network: DualNetwork;
}

/** Opens a CLIP's files. @throws ModelError when a part is missing, of another kind, or parts do not fit together */
export async function openClip(files: ClipFiles, reading: ClipReading): Promise<OpenedClip> {
  const json = parseJson(await readText(files.config, { expected: "a CLIP model's configuration" }), files.config);
  const read = parseClipConfig(json, files.config);
  const [stored, tokenizer] = await Promise.all([openWeights(files.weights), openClipTokenizer(files.tokenizer)]);
  const { source, config } = inOneLayout(stored, read);
  checkTokenizer(files, config, tokenizer);
  const factor = reading.scaled ? await readScale(source) : 1;
  const encoders = clipEncoders(config, tokenizer.maxLength);
  const build: DualNetwork["build"] = (scope, pixels) => buildCosine(scope, { ...encoders, factor }, pixels);
  const whole = scoreGraph(reading.name, { imageSize: config.vision.imageSize, build }, "inference");
  const weights = resolveWeights(whole.parameters, source, {
    where: "CLIPModel",
    ignore: [...CLIP_IGNORED_KEYS, /^(logit_scale|logit_bias|attn_mask)$/],
  });
  return { config, network: clipNetwork({ config, tokenizer, weights, factor, reading, files, encoders }) };
}

/** Tensors under transformers' names. OpenCLIP takes the largest id of a text for its end, whatever the configuration says. */
function inOneLayout(stored: WeightSource, config: ClipConfig): { source: WeightSource; config: ClipConfig } {
  if (!isOpenClip(stored.entries)) return { source: stored, config };
  const text = { ...config.text, eosTokenId: 2 };
  return { source: openClipSource(stored), config: { ...config, text, projections: "matrix" } };
}

function checkTokenizer(files: ClipFiles, { text }: ClipConfig, tokenizer: DescribedTokenizer): void {
  const { maxLength, vocabularySize } = tokenizer;
  if (maxLength <= text.maxPositions && vocabularySize <= text.vocabulary) return;
  throw new ModelError(
    `${files.tokenizer}: tokenizer: expected at most ${text.maxPositions} tokens of ${text.vocabulary} (config.json), got ${maxLength} of ${vocabularySize}`,
  );
}

async function readScale(source: WeightSource): Promise<number> {
  const { data } = await source.read(LOGIT_SCALE);
  return Math.exp(Number(data[0]));
}

/** The encoders' parts of graphs. */
function clipEncoders(config: ClipConfig, length: number): Pick<DualNetwork, "buildImage" | "buildText"> {
  return {
    buildImage: (scope, pixels) => buildClipImageEmbedding(scope, config, pixels),
    buildText: (scope, batch) =>
      buildClipTextEmbedding(scope, config, input(inputName(scope.prefix, "ids"), "int64", [batch, length])),
  };
}

function clipNetwork(parts: {
  readonly config: ClipConfig;
  readonly tokenizer: DescribedTokenizer;
  readonly weights: ReadonlyMap<string, WeightEntry>;
  readonly factor: number;
  readonly reading: ClipReading;
  readonly files: ClipFiles;
  readonly encoders: Pick<DualNetwork, "buildImage" | "buildText">;
}): DualNetwork {
  const { config, tokenizer, weights, factor, reading, files, encoders } = parts;
  const { maxLength } = tokenizer;
  return dualNetwork({
    ...encoders,
    imageSize: config.vision.imageSize,
    preprocessing: reading.preprocessing,
    factor,
    tokenizer,
    weights,
    keys: {
      image: [config.vision, config.projection, config.projections],
      text: [config.text, config.projection, config.projections, files.tokenizer],
    },
    textFeeds(prefix, prompts) {
      const encodings = encodePrompts(tokenizer, prompts);
      const rows = encodings.map(({ ids }) => ids);
      return {
        feeds: { [inputName(prefix, "ids")]: stackRows(rows, maxLength) },
        warnings: truncationWarnings(reading.name, maxLength, encodings),
      };
    },
  });
}
