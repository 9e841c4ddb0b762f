/** @file The reference pictures of an open reward's scores. */

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ReferenceScores } from "../evaluation/explain.js";
import { EMBEDDED_MODELS } from "../pipeline/package-info.js";
import { PUBLISHED_FILE, referenceScores } from "../pipeline/score-references.js";
import type { Reward } from "../rewards/contract.js";
import { modelRecord } from "./models.js";

/**
 * What a reward's scores can be compared with, for {@link explainScores} and {@link thresholdTable}: for the rewards that ship inside what was measured on
 * the demo model's pictures, for ImageReward v1.0 what is published; undefined for others.
 */
export async function referenceOf(reward: Reward): Promise<ReferenceScores | undefined> {
  const { path } = reward.model;
  if (path === undefined) return undefined;
  // weights of gigabytes are not digested to find that they are none of the small ones that ship inside
  if (Object.values<string>(EMBEDDED_MODELS).includes(path)) return referenceScores(await modelRecord(reward));
  const inside = join(path, PUBLISHED_FILE);
  const file = (await stat(inside).catch(() => undefined))?.isFile() === true ? inside : path;
  return referenceScores({ name: reward.name, path: file, digest: null });
}
