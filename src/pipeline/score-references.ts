/** @file The pictures that a reward's scores are told by: those measured for the rewards that ship inside, or published for ImageReward. */

import { basename } from "node:path";
import type { ReferenceScores } from "../evaluation/explain.js";
import { parseJson, readTextIfThere } from "../util/read-file.js";
import type { ModelRecord } from "./manifest.js";
import { EMBEDDED_SCORES } from "./package-info.js";

/**
 * Between the shares that ImageReward's authors give for Stable Diffusion 1.4, 62.4 % of the scores in [-1, 1] and 98.2 % in [-2, 2], with as many above as
 * below: the scores have mean 0. Source: https://github.com/THUDM/ImageReward/issues/5
 */
const PUBLISHED: ReferenceScores = {
  pictures: "the pictures Stable Diffusion 1.4 draws",
  source: "published for ImageReward v1.0: 62.4 % of the scores lie in [-1, 1], 98.2 % in [-2, 2]",
  points: [
    { score: -2, share: 0.009 },
    { score: -1, share: 0.188 },
    { score: 0, share: 0.5 },
    { score: 1, share: 0.812 },
    { score: 2, share: 0.991 },
  ],
};

/** The file of the published weights. */
export const PUBLISHED_FILE = "ImageReward.pt";

/** What test/reference/reference-scores.js writes. */
interface MeasuredScores {
  readonly prompts: number;
  readonly images: number;
  readonly rewards: readonly {
    readonly name: string;
    readonly digest: string;
    /** Scores below which 0, 1, ..., 100 per cent of the pictures lie. */
    readonly percentiles: readonly number[];
  }[];
}

let measured: Promise<MeasuredScores | undefined> | undefined;

/**
 * The reference of a reward's scores; undefined where none is known. A reward that ships inside is known by its digest, ImageReward v1.0 by the name of
 * its file.
 */
export async function referenceScores({
  name,
  path,
  digest,
}: Omit<ModelRecord, "model">): Promise<ReferenceScores | undefined> {
  if (name === "image-reward" && path !== null && basename(path) === PUBLISHED_FILE) return PUBLISHED;
  if (digest === null) return undefined;
  measured ??= readTextIfThere(EMBEDDED_SCORES, { expected: "the scores of the demo rewards" }).then((text) =>
    text === undefined ? undefined : (parseJson(text, EMBEDDED_SCORES) as MeasuredScores),
  );
  const scores = await measured;
  const known = scores?.rewards.find((one) => one.digest === digest);
  if (scores === undefined || known === undefined) return undefined;
  return {
    pictures: "the pictures the demo model draws",
    source: `measured on ${scores.images} pictures of ${scores.prompts} held-out prompts`,
    points: known.percentiles.map((score, percent) => ({ score, share: percent / 100 })),
  };
}
