/** @file Writes a score into every picture of a folder as `laurel score --write-metadata` does, for pictures.py: `node test/reference/pictures.js FOLDER`. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { decodeImage } from "../../dist/image/decode.js";
import { ownPrompt } from "../../dist/library/pictures/read-picture.js";
import { writeScore } from "../../dist/library/pictures/write-score.js";

/** What the score is by; no model is run. */
export const REWARD = {
  name: "image-reward",
  model: "ImageReward.pt",
  path: null,
  digest: "0123456789abcdef".repeat(4),
};

/** Writes 0.8312 into a picture. */
export async function writeInto(path) {
  const bytes = readFileSync(path);
  const { width, height } = await decodeImage(bytes, path);
  const { prompt, promptFrom = null } = await ownPrompt(bytes, path, null, "metadata");
  await writeScore(path, { score: 0.8312, prompt, promptFrom, width, height }, REWARD);
}

const [folder] = process.argv.slice(2);
if (folder !== undefined) for (const name of readdirSync(folder).sort()) await writeInto(join(folder, name));
