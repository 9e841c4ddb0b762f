/** @file CLIP score: the cosine between the embeddings of prompt and image (Hessel et al., arXiv 2104.08718, without its factor 2.5). */

import { basename, join, resolve } from "node:path";
import { CLIP_PREPROCESSING } from "../image/preprocess.js";
import type { ClipConfig } from "../models/clip.js";
import type { Device } from "../runtime/device.js";
import { checkBatch, DEFAULT_BATCH } from "./batched.js";
import { openClip } from "./clip-network.js";
import type { ScoreReference } from "./contract.js";
import { DualEncoder, type DualEncoderParts, dualEncoderParts } from "./dual-encoder.js";

const NAME = "clip-score";
/** Cosines of CLIP ViT-L/14 for pictures and their prompts. */
const REFERENCE: ScoreReference = {
  mean: 0.25,
  std: 0.04,
  source:
    "a convention for CLIP ViT-L/14: cosines of pictures and their captions lie about 0.25, published figures 0.23 to 0.27",
};

/** How much is scored together, and where other scores lie. */
export interface ClipScoreOptions {
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
  /** For ensembles. @default that of CLIP ViT-L/14 */
  readonly reference?: ScoreReference | undefined;
}

/**
 * Opens a `CLIPModel` folder of transformers: config.json, weights and the tokenizer's files.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openClipScore(
  directory: string,
  device: Device,
  options: ClipScoreOptions = {},
): Promise<ClipScore> {
  const { batch = DEFAULT_BATCH, reference = REFERENCE } = options;
  checkBatch(batch);
  const root = resolve(directory);
  const files = { config: join(root, "config.json"), weights: root, tokenizer: root };
  const reading = { name: NAME, preprocessing: CLIP_PREPROCESSING, scaled: false };
  const { network, config } = await openClip(files, reading);
  const model = { name: basename(root), path: root };
  const facts = { name: NAME, model, range: [-1, 1] as const, reference };
  return new ClipScore(device, await dualEncoderParts(device, network, batch, facts), config);
}

/** A CLIP dual encoder on a device, giving cosines. */
export class ClipScore extends DualEncoder {
  /** Use {@link openClipScore}. @internal */
  constructor(
    device: Device,
    parts: DualEncoderParts,
    /** Its architecture. */
    readonly config: ClipConfig,
  ) {
    super(device, parts);
  }
}
