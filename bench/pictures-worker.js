/** @file One part of the benchmark of pictures in a process of its own, so that its memory is its own: `node bench/pictures-worker.js PART FOLDER COUNT`; prints JSON. */

import { statSync } from "node:fs";
import { join } from "node:path";
import { walkPictures } from "../dist/image/walk-pictures.js";
import { rewardRecords } from "../dist/library/models.js";
import { openNamedReward } from "../dist/library/named-rewards.js";
import { ScoreIndex } from "../dist/library/pictures/score-index.js";
import { scorePictures, taskOf } from "../dist/library/pictures/score-pictures.js";
import { openDevice } from "../dist/runtime/device.js";

const [part, folder, count] = process.argv.slice(2);

/** A reward without a model, for what is not about models. */
const none = {
  name: "none",
  model: { name: "none", path: undefined },
  range: [0, 1],
  score: async (_, images) => ({ scores: images.map(({ data }) => data[0] / 255), warnings: [] }),
  dispose: async () => undefined,
};

const megabytes = () => process.resourceUsage().maxRSS / 1024;
/** What is held after a collection: objects and typed arrays. */
const held = () => {
  globalThis.gc();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 2 ** 20;
};

async function timed(work) {
  const before = held();
  const [started, cpu] = [performance.now(), process.cpuUsage()];
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const grown = held() - before;
  const processorSeconds = (user + system) / 1e6;
  return { result, figures: { seconds, processorSeconds, heldMegabytes: grown, peakMegabytes: megabytes() } };
}

/** Scoring with a look for duplicates, a choice and a walk through all rows. */
async function score(reward, options) {
  const before = held();
  const { result: set, figures } = await timed(() => scorePictures(reward, [folder], options));
  const { unchanged, scored, written } = set.summary();
  const started = performance.now();
  await set.findDuplicates();
  const chosen = set.count({ topK: 2 });
  const seconds = (performance.now() - started) / 1000;
  const withDuplicates = held() - before;
  await set.close();
  return {
    ...figures,
    pictures: set.size,
    unchanged,
    scored,
    written,
    duplicatesSeconds: seconds,
    withDuplicates,
    chosen,
    peakMegabytes: megabytes(),
  };
}

const PARTS = {
  walk: async () => {
    let pictures = 0;
    const { figures } = await timed(async () => {
      for await (const { kind } of walkPictures([folder])) if (kind === "picture") pictures++;
    });
    return { ...figures, pictures };
  },
  "without a model": () => score(none, {}),
  demo: async () => {
    const device = await openDevice();
    try {
      return await score(await openNamedReward("image-reward", device), {});
    } finally {
      await device.close();
    }
  },
  metadata: () => score(none, { writeMetadata: true }),
  /** Writes an index of what is in the folder, as if all had been scored. */
  fill: async () => {
    const index = await ScoreIndex.open(join(folder, ".laurel-scores.jsonl"));
    const task = taskOf(await rewardRecords(none), undefined, "any");
    let i = 0;
    for await (const { path } of walkPictures([folder])) {
      const { size, mtimeMs } = statSync(path);
      const facts = { bytes: size, modified: mtimeMs, width: 64, height: 64, side: null };
      const look = Math.imul(i, 2654435761) >>> 0;
      const digest = `${i.toString(16).padStart(8, "0")}${"0".repeat(56)}`;
      index.append(task, path, {
        ...facts,
        prompt: `prompt ${i % 50_000}`,
        promptFrom: "infotext",
        digest,
        look: `${look.toString(16).padStart(8, "0")}${(~look >>> 0).toString(16).padStart(8, "0")}`,
        score: (i % 1000) / 1000,
      });
      if (++i % 10_000 === 0) await index.flush();
    }
    await index.close();
    return { pictures: i, count };
  },
};

process.stdout.write(JSON.stringify(await PARTS[part]()));
