/** @file HPS v2.1: OpenCLIP ViT-H/14 tuned on people's preferences (Wu et al., arXiv 2306.09341); the cosine. */

import { basename, dirname, join, resolve } from "node:path";
import { HPS_PREPROCESSING } from "../image/preprocess.js";
import type { Device } from "../runtime/device.js";
import { checkBatch, DEFAULT_BATCH } from "./batched.js";
import { openClip } from "./clip-network.js";
import type { ScoreReference } from "./contract.js";
import { DualEncoder, dualEncoderParts } from "./dual-encoder.js";

const NAME = "hps";
/** Of HPS v2.1. */
const REFERENCE: ScoreReference = {
  mean: 0.24,
  std: 0.03,
  source: "a convention for HPS v2.1: SD 1.5's average is 0.2402 as published, single pictures lie about 0.18 to 0.33",
};

/** Where the parts lie, if not beside the weights, and how much is scored together. */
export interface HpsOptions {
  /** `config.json` of transformers for the CLIP it was tuned from, which names heads and activation. @default beside the weights */
  readonly config?: string | undefined;
  /** Folder of the tokenizer. @default that of the weights */
  readonly tokenizer?: string | undefined;
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
  /** For ensembles. @default that of HPS v2.1 */
  readonly reference?: ScoreReference | undefined;
}

/**
 * Opens HPS v2 or v2.1: `HPS_v2.1_compressed.pt` in OpenCLIP's layout, with config.json and tokenizer of the CLIP it was tuned from beside it or where
 * `options` say. Where HPSv2's own code fails, pictures with alpha (it keeps four channels) and pictures whose long side needs no resize but whose
 * short one needs black (it pads none), this scores: without alpha, and padded.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openHps(path: string, device: Device, options: HpsOptions = {}): Promise<DualEncoder> {
  const { batch = DEFAULT_BATCH, reference = REFERENCE } = options;
  checkBatch(batch);
  const weights = resolve(path);
  const folder = dirname(weights);
  const files = {
    config: options.config ?? join(folder, "config.json"),
    weights,
    tokenizer: options.tokenizer ?? folder,
  };
  const { network } = await openClip(files, { name: NAME, preprocessing: HPS_PREPROCESSING, scaled: false });
  const model = { name: basename(weights), path: weights };
  const facts = { name: NAME, model, range: [0.15, 0.35] as const, reference };
  return new DualEncoder(device, await dualEncoderParts(device, network, batch, facts));
}
