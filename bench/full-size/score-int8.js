/** @file ImageReward of the published size in int8 beside its own float32: speed, memory, and how both rank pictures; the same order for the demo reward. */

import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { evaluationPrompts } from "../../dist/demo/dataset.js";
import { createRandom } from "../../dist/demo/random.js";
import { renderScene } from "../../dist/demo/render.js";
import { sampleScene } from "../../dist/demo/scene.js";
import { agreementOf } from "../../dist/library/int8-agreement.js";
import { scoreFiles } from "../../dist/library/score-files.js";
import { EMBEDDED_MODELS } from "../../dist/pipeline/package-info.js";
import { openImageReward } from "../../dist/rewards/image-reward.js";
import { openDevice } from "../../dist/runtime/device.js";
import { laurelCacheFolder } from "../../dist/util/user-folders.js";
import { median, report } from "../measure.js";
import { countThreads, finish, makeFiles, OPTIONS, peakOf, PROMPT, ratioOf, takeTurns, timed } from "./setup.js";

export { finish };
export const options = OPTIONS;

/** Pictures in one turn. */
const TURN = 4;
/** Of the demo world: pictures for one prompt, and prompts. */
const [DEMO_PICTURES, DEMO_PROMPTS] = [100, 10];
const NAME = "ImageReward in int8";

export async function run(flags) {
  // what is rounded here goes with the checkpoints
  process.env.XDG_CACHE_HOME = join(flags.folder, "cache");
  const pictures = await makeFiles(flags);
  await measureFullSize(flags, pictures);
  await measureDemo(flags);
}

async function measureFullSize(flags, pictures) {
  const rounds = Number(flags.rounds ?? 8);
  const path = join(flags.folder, "image-reward");
  const sides = {};
  for (const dtype of ["float32", "int8"]) {
    const device = openDevice({ threads: countThreads(flags) });
    const seconds = await timed(async () => {
      sides[dtype] = { device, reward: await openImageReward(path, device, { dtype }), scores: [] };
      await sides[dtype].reward.prepare();
    });
    sides[dtype].loadSeconds = seconds;
  }
  const turn = (dtype) => async (round) => {
    const { device, reward, scores } = sides[dtype];
    const start = ((round - 1) * TURN + pictures.length) % pictures.length;
    const insideBefore = device.runMs;
    const { results } = await scoreFiles(reward, PROMPT, pictures.slice(start, start + TURN));
    if (round > 0) scores.push(...results.map(({ score }) => score));
    return (device.runMs - insideBefore) / 1000;
  };
  try {
    const seconds = await takeTurns(rounds, { float32: turn("float32"), int8: turn("int8") });
    const { ratio, ratios } = ratioOf(seconds.float32, seconds.int8);
    const details = {
      rounds: ratios,
      secondsPerImage: median(seconds.int8) / TURN,
      loadSeconds: sides.int8.loadSeconds,
    };
    report(`${NAME}, float32's time / int8's`, ratio, "x", ">= 2", details);
    const agreement = agreementOf(sides.float32.scores.map((score, i) => [score, sides.int8.scores[i]]));
    report(`${NAME}, Kendall tau with float32 on random weights`, agreement.tau, "", null, agreement);
    const [exact, rounded] = [peakOf(sides.float32.device), peakOf(sides.int8.device)];
    const file = { cachedFileMB: await cachedMegabytes(), float32: exact.device, int8: rounded.device };
    report(`${NAME}, peak memory of the device process / float32's`, rounded.device / exact.device, "of 1", null, file);
  } finally {
    for (const { device } of Object.values(sides)) await device.close();
  }
}

async function cachedMegabytes() {
  const folder = join(laurelCacheFolder(), "int8");
  const sizes = await Promise.all((await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size));
  return Math.round(sizes.reduce((sum, size) => sum + size, 0) / 1e6);
}

async function measureDemo(flags) {
  const device = openDevice({ threads: countThreads(flags) });
  try {
    const exact = await openImageReward(EMBEDDED_MODELS.reward, device);
    const rounded = await openImageReward(EMBEDDED_MODELS.reward, device, { dtype: "int8" });
    const random = createRandom(62);
    const agreements = [];
    for (const prompt of evaluationPrompts().slice(0, DEMO_PROMPTS)) {
      const images = Array.from({ length: DEMO_PICTURES }, () => renderScene(sampleScene(random), random));
      const [{ scores }, { scores: own }] = [await exact.score(prompt, images), await rounded.score(prompt, images)];
      agreements.push(agreementOf(scores.map((score, i) => [score, own[i]])));
    }
    const taus = agreements.map(({ tau }) => tau);
    const details = {
      prompts: DEMO_PROMPTS,
      pictures: DEMO_PICTURES,
      least: Math.min(...taus),
      largestDifference: Math.max(...agreements.map(({ largestDifference }) => largestDifference)),
      spread: median(agreements.map(({ spread }) => spread)),
    };
    report(
      "The demo reward in int8, Kendall tau with float32, median over prompts",
      median(taus),
      "",
      ">= 0.98",
      details,
    );
  } finally {
    await device.close();
  }
}
