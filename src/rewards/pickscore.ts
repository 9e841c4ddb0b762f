/** @file PickScore: CLIP ViT-H/14 tuned on people's choices between pictures (Kirstain et al., arXiv 2305.01569): exp(logit_scale) * cosine. */

import { basename, dirname, join, resolve } from "node:path";
import { TRANSFORMERS_PREPROCESSING } from "../image/preprocess.js";
import type { Device } from "../runtime/device.js";
import { checkBatch, DEFAULT_BATCH } from "./batched.js";
import { openClip } from "./clip-network.js";
import type { ScoreReference } from "./contract.js";
import { DualEncoder, dualEncoderParts } from "./dual-encoder.js";

const NAME = "pickscore";
/** Of PickScore v1. */
const REFERENCE: ScoreReference = {
  mean: 21,
  std: 1.5,
  source: "a convention for PickScore v1: SD 1.5's average is 21.02 as published, single pictures lie about 18 to 24",
};

/** Where the parts lie, if not beside the weights, and how much is scored together. */
export interface PickScoreOptions {
  /** `config.json` of the CLIPModel. @default beside the weights */
  readonly config?: string | undefined;
  /** Folder of the tokenizer. @default that of the weights */
  readonly tokenizer?: string | undefined;
  /** Images scored together. @default 8 */
  readonly batch?: number | undefined;
  /** For ensembles. @default that of PickScore v1 */
  readonly reference?: ScoreReference | undefined;
}

/**
 * Opens PickScore: a `CLIPModel` folder of transformers or its weight file, with config.json and the tokenizer's files beside it or where `options` say.
 * Images are preprocessed as transformers' `CLIPImageProcessor` does it, which is not how CLIP's own code does.
 * @throws ModelError when a part is missing or of another kind
 */
export async function openPickScore(
  path: string,
  device: Device,
  options: PickScoreOptions = {},
): Promise<DualEncoder> {
  const { batch = DEFAULT_BATCH, reference = REFERENCE } = options;
  checkBatch(batch);
  const weights = resolve(path);
  const folder = options.config === undefined ? weights : dirname(options.config);
  const files = {
    config: options.config ?? join(weights, "config.json"),
    weights,
    tokenizer: options.tokenizer ?? folder,
  };
  const reading = { name: NAME, preprocessing: TRANSFORMERS_PREPROCESSING, scaled: true };
  const { network } = await openClip(files, reading);
  const model = { name: basename(weights), path: weights };
  const facts = { name: NAME, model, range: [16, 26] as const, reference };
  return new DualEncoder(device, await dualEncoderParts(device, network, batch, facts));
}
