/** @file The shape of an ImageReward checkpoint, read from its own tensors, med_config.json and an optional config.json. */

import type { BlipTextConfig, BlipVisionConfig } from "./blip-config.js";
import { readBlipMed, readBlipShapes, ShapeReader } from "./blip-config.js";
import { ConfigReader, LIMITS } from "./config-reader.js";
import { type LinearHead, readLinearHead } from "./linear-head.js";

/** ImageReward: BLIP's image-grounded text encoder and a head of plain linear layers. */
export interface ImageRewardConfig {
  readonly vision: BlipVisionConfig;
  readonly text: BlipTextConfig;
  /** The head's layers: index below `mlp.layers` and output width. The indices between them are dropouts. */
  readonly head: LinearHead;
  /** Tokens a prompt is padded or cut to. */
  readonly maxTextLength: number;
  /** score = (head - scoreMean) / scoreStd */
  readonly scoreMean: number;
  readonly scoreStd: number;
}

/** Keys an ImageReward checkpoint holds beyond what the score uses. */
export const IMAGE_REWARD_IGNORED_KEYS: readonly RegExp[] = [/(^|\.)position_ids$/, /^blip\.(vision|text)_proj\./];

const NAMES = { vision: "blip.visual_encoder", text: "blip.text_encoder" };

/**
 * The configuration of a checkpoint with the tensor shapes `shapes`. `med` is med_config.json (heads, activation, epsilon; its sizes
 * must agree with the tensors, except `encoder_width`, which the vision width overrides). `config` is an optional config.json of
 * Laurel's: `vision_heads` (@default width / 64), `max_text_length` (@default 35, or the number of
 * position embeddings if that is less), `score_mean` and `score_std` (@default the
 * released model's); a field it does not know is an error, as a misspelt one would change scores in silence. @throws ModelError naming `where`, the missing tensors or the field
 */
export function imageRewardConfig(
  shapes: ReadonlyMap<string, readonly number[]>,
  med: unknown,
  config: unknown,
  where: string,
): ImageRewardConfig {
  const reader = new ShapeReader(shapes);
  const blip = readBlipShapes(reader, NAMES);
  const head = readLinearHead(reader, "mlp.layers");
  reader.finish(`${where}: not an ImageReward checkpoint`);
  const { width, imageSize, patchSize } = blip.vision;
  const own = new ConfigReader(config === undefined ? {} : config, `${where}: config.json`);
  const heads = own.integer("vision_heads", Math.max(1, Math.floor(width / 64)));
  if (width % heads !== 0) {
    own.fault(`vision_heads: expected a divisor of the width ${width}, got ${heads}`);
  }
  const maxTextLength = own.integer("max_text_length", Math.min(35, blip.text.maxPositions), 1, LIMITS.tokens);
  if (maxTextLength > blip.text.maxPositions) {
    own.fault(
      `max_text_length: expected at most ${blip.text.maxPositions} (position embeddings), got ${maxTextLength}`,
    );
  }
  if (own.has("image_size") && own.integer("image_size") !== imageSize) {
    own.fault(`image_size: expected ${imageSize} (position embeddings), got ${JSON.stringify(own.raw("image_size"))}`);
  }
  if (own.has("patch_size") && own.integer("patch_size") !== patchSize) {
    own.fault(`patch_size: expected ${patchSize} (patch convolution), got ${JSON.stringify(own.raw("patch_size"))}`);
  }
  const [scoreMean, scoreStd] = [
    own.number("score_mean", 0.16717362830052426),
    own.positive("score_std", 1.0333394966054072),
  ];
  own.ignore("model_type", "architectures", "transformers_version", "torch_dtype", "dtype");
  own.rejectUnread();
  return own.finish({
    vision: { ...blip.vision, heads },
    text: { ...blip.text, ...readBlipMed(med, blip.text, `${where}: med_config.json`) },
    head,
    maxTextLength,
    scoreMean,
    scoreStd,
  });
}
