/**
 * @file An ImageReward of the published size with random weights: loading, speed against a Gemm of its own shapes, memory.
 *
 * npm run bench -- image-reward [--rounds 7] [--threads N] [--profile] [--keep] [--folder DIR]
 * It writes 1.8 GB below the system's temporary folder and removes them; --keep leaves them for the next time.
 */

import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openImageReward } from "../dist/rewards/image-reward.js";
import { openDevice } from "../dist/runtime/device.js";
import { matrixOperations } from "../dist/graph/operations.js";
import { openGemmPeak } from "./gemm-peak.js";
import {
  PROMPT,
  VISION_TOKENS,
  VISION_WIDTH,
  visionProducts,
  writeImageReward,
  writePictures,
} from "./image-reward-files.js";
import { bytesRead, dropFromCache, memoryOf } from "./machine.js";
import { median, report, table } from "./measure.js";
import { readProfile } from "./profile.js";

const BATCHES = [1, 8];
const PROFILED_RUNS = 3;

export const options = {
  rounds: { type: "string", default: "7" },
  threads: { type: "string" },
  profile: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  folder: { type: "string", default: join(tmpdir(), "laurel-bench-image-reward") },
};

export async function run({ rounds, threads, profile, keep, folder }) {
  const use = threads === undefined ? {} : { threads: Number(threads) };
  try {
    const writeSeconds = await writeImageReward(folder);
    const pictures = await writePictures(folder, Math.max(...BATCHES));
    const loads = await measureLoads(folder, use, pictures[0].image);
    const figures = await measureSpeed(folder, use, pictures, Number(rounds));
    const tables = [reportSpeed(figures), reportLoads(loads, writeSeconds), reportMemory(figures)];
    reportScores(figures);
    for (const rows of tables) table(rows);
    if (profile) await printProfile(folder, use, pictures);
  } finally {
    if (!keep) await rm(folder, { recursive: true, force: true });
  }
}

/** From nothing to the first score, in a device process of its own each time: not in the page cache, then in it. */
async function measureLoads(folder, use, image) {
  const weights = join(folder, "ImageReward.safetensors");
  const loads = [];
  for (const pages of ["cold", "warm", "warm", "warm"]) {
    if (pages === "cold" && !dropFromCache(weights)) continue;
    const device = openDevice(use);
    try {
      const started = performance.now();
      const reward = await openImageReward(folder, device);
      const opened = performance.now();
      await reward.prepare();
      const compiled = performance.now();
      await reward.score(PROMPT, [image]);
      const ended = performance.now();
      loads.push({
        pages,
        seconds: (ended - started) / 1000,
        openMs: opened - started,
        compileMs: compiled - opened,
        firstScoreMs: ended - compiled,
        megabytesFromDisk: bytesRead(device.pid) / 1e6,
      });
    } finally {
      await device.close();
    }
  }
  return loads;
}

/** The network and the Gemm program in turns, so that both meet the same machine. */
async function measureSpeed(folder, use, pictures, rounds) {
  const device = openDevice(use);
  try {
    const reward = await openImageReward(folder, device, { batch: Math.max(...BATCHES) });
    const flops = matrixOperations(reward.graph("inference"), { N: 1 });
    const images = pictures.map(({ image }) => image);
    const memory = [];
    for (const batch of BATCHES) {
      await reward.score(PROMPT, images.slice(0, batch));
      memory.push({ batch, device: memoryOf(device.pid), parent: memoryOf(process.pid) });
    }
    const peak = await openGemmPeak(device, reward.weights, VISION_WIDTH, visionProducts);
    const results = BATCHES.map((batch) => ({
      batch,
      seconds: [],
      programSeconds: [],
      peak: [],
      fraction: [],
      programFraction: [],
    }));
    let scores = {};
    for (let round = 0; round <= rounds; round++) {
      for (const result of results) {
        const { batch } = result;
        const peakBefore = await peak.flopRate(VISION_TOKENS * batch);
        const [started, insideBefore] = [performance.now(), device.runMs];
        const { scores: own } = await reward.score(PROMPT, images.slice(0, batch));
        const seconds = (performance.now() - started) / 1000;
        const inside = (device.runMs - insideBefore) / 1000;
        const rate = (peakBefore + (await peak.flopRate(VISION_TOKENS * batch))) / 2;
        scores[batch] = own;
        if (round === 0) continue; // first runs allocate
        result.seconds.push(seconds);
        result.programSeconds.push(inside);
        result.peak.push(rate);
        result.fraction.push((flops * batch) / seconds / rate);
        result.programFraction.push((flops * batch) / inside / rate);
      }
    }
    return { flops, memory, results, scores, threads: device.threads };
  } finally {
    await device.close();
  }
}

function reportSpeed({ flops, results, threads }) {
  return results.map(({ batch, seconds, programSeconds, peak, fraction, programFraction }) => {
    const name = `ImageReward (ViT-L/16) at batch ${batch}`;
    const imagesPerSecond = batch / median(seconds);
    const [ofGemm, insideProgram, gemm] = [median(fraction), median(programFraction), median(peak) / 1e9];
    report(`${name}, FLOP/s of its products / FLOP/s of a Gemm of its shapes`, ofGemm, "of 1", ">= 0.88", {
      insideProgram,
      rounds: fraction,
      gflopPerImage: flops / 1e9,
      gemmGflopPerSecond: gemm,
      threads,
    });
    const programMsPerImage = (1000 * median(programSeconds)) / batch;
    report(name, imagesPerSecond, "images/s", null, { msPerImage: 1000 / imagesPerSecond, programMsPerImage });
    return {
      batch,
      "images/s": imagesPerSecond,
      "of Gemm": ofGemm,
      "in program": insideProgram,
      "Gemm GFLOP/s": gemm,
    };
  });
}

function reportScores({ scores }) {
  const [one, many] = BATCHES.map((batch) => scores[batch]);
  report("ImageReward, the first picture's score among 8 minus that alone", many[0] - one[0], "score", "0");
}

function reportLoads(loads, writeSeconds) {
  return ["cold", "warm"].flatMap((pages) => {
    const these = loads.filter((load) => load.pages === pages);
    if (these.length === 0) return [];
    const fields = ["seconds", "openMs", "compileMs", "firstScoreMs", "megabytesFromDisk"];
    const { seconds, ...parts } = Object.fromEntries(
      fields.map((field) => [field, median(these.map((load) => load[field]))]),
    );
    const name = `ImageReward from its file to the first score, page cache ${pages}`;
    report(name, seconds, "s", null, { ...parts, times: these.length, writeSeconds });
    return { load: pages, seconds, ...parts };
  });
}

function reportMemory({ memory }) {
  return memory.map(({ batch, device, parent }) => {
    const name = `ImageReward at batch ${batch}, peak memory of the device process`;
    report(name, device.peakRss, "MB", null, { device, parent });
    return {
      batch,
      "device peak MB": device.peakRss,
      "its own MB": device.anonymous,
      "parent peak MB": parent.peakRss,
    };
  });
}

/** Profiles each batch in a device of its own: measuring every node costs time, so nothing else is taken from these runs. */
async function printProfile(folder, use, pictures) {
  for (const batch of BATCHES) {
    const prefix = join(folder, `profile-${batch}`);
    const device = openDevice({ ...use, profile: prefix });
    try {
      const reward = await openImageReward(folder, device, { batch });
      for (let i = 0; i < PROFILED_RUNS; i++)
        await reward.score(
          PROMPT,
          pictures.slice(0, batch).map(({ image }) => image),
        );
      await reward.dispose();
    } finally {
      await device.close();
    }
    const { ops, costliest } = await readProfile(prefix, "image-reward", PROFILED_RUNS);
    report(
      `ImageReward at batch ${batch}, share of Gemm in the time of all nodes`,
      ops.find(({ op }) => op === "Gemm").share,
      "of 1",
      null,
      { ms: Object.fromEntries(ops.map(({ op, ms }) => [op, ms])) },
    );
    table(ops);
    table(costliest);
  }
}
