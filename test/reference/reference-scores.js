/**
 * @file Records how the demo rewards score what the demo model draws, to be run after one of them has changed:
 * npm run build && node test/reference/reference-scores.js
 */

import { writeFile } from "node:fs/promises";
import { openStableDiffusion } from "../../dist/diffusion/stable-diffusion.js";
import { demoDigests } from "../../dist/installation/self-test.js";
import { EMBEDDED_MODELS, EMBEDDED_SCORES } from "../../dist/pipeline/package-info.js";
import { runtimeVersions } from "../../dist/pipeline/versions.js";
import { openClipScore } from "../../dist/rewards/clip-score.js";
import { openImageReward } from "../../dist/rewards/image-reward.js";
import { openDevice } from "../../dist/runtime/device.js";
import { judgeDemoImages } from "../../dist/training/evaluate-demo.js";
import { quantile } from "../../dist/util/statistics.js";

/** Held-out prompts, half of them of two shapes, and pictures of each with the model's own settings. */
const PROMPTS = 200;
const IMAGES = 8;

const device = openDevice();
const diffusion = await openStableDiffusion(EMBEDDED_MODELS.generator, device);
const rewards = [
  await openImageReward(EMBEDDED_MODELS.reward, device),
  await openClipScore(EMBEDDED_MODELS.judge, device),
];
const judged = await judgeDemoImages({ diffusion, rewards, prompts: PROMPTS, imagesPerPrompt: IMAGES });
await device.close();
const { generator, reward, judge } = await demoDigests(EMBEDDED_MODELS);
const images = judged.flatMap((prompt) => prompt.images);
/** Scores below which 0, 1, ..., 100 per cent of the pictures lie. */
const percentiles = (name) => {
  const scores = images.map((image) => image.scores[name]);
  return Array.from({ length: 101 }, (_, percent) => Number(quantile(scores, percent / 100).toFixed(4)));
};
const reference = {
  command: "node test/reference/reference-scores.js",
  versions: runtimeVersions(),
  generator,
  prompts: PROMPTS,
  images: images.length,
  rewards: rewards.map(({ name }, i) => ({ name, digest: [reward, judge][i], percentiles: percentiles(name) })),
};
await writeFile(EMBEDDED_SCORES, `${JSON.stringify(reference)}\n`);
