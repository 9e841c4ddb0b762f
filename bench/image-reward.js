/**
 * @file An ImageReward of the published size with random weights: loading, speed against a Gemm of its own shapes, memory, and PyTorch beside it.
 *
 * npm run bench -- image-reward [--rounds 7] [--threads N] [--python INTERPRETER] [--profile] [--keep] [--folder DIR]
 * It writes 1.8 GB below the system's temporary folder and removes them; --keep leaves them for the next time.
 */

import { rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { gemm } from "../dist/graph/builder.js";
import { openImageReward } from "../dist/rewards/image-reward.js";
import { openDevice } from "../dist/runtime/device.js";
import { matrixFlops } from "./flops.js";
import { openGemmPeak } from "./gemm-peak.js";
import { PROMPT, writeImageReward, writePictures } from "./image-reward-files.js";
import { bytesRead, dropFromCache, memoryOf } from "./machine.js";
import { median, report, table } from "./measure.js";
import { readProfile } from "./profile.js";
import { openPeer } from "./python.js";

const BATCHES = [1, 8];
/** Blocks of the vision transformer whose weights the Gemm program uses: 302 MB, far more than any cache holds. */
const PEAK_BLOCKS = 6;
const PROFILED_RUNS = 3;
/** Rows an image gives the vision transformer: 14 x 14 patches and the class token. */
const TOKENS = 197;

export const options = {
  rounds: { type: "string", default: "7" },
  threads: { type: "string" },
  python: { type: "string" },
  profile: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  folder: { type: "string", default: join(tmpdir(), "laurel-bench-image-reward") },
};

export async function run({ rounds, threads, python, profile, keep, folder }) {
  const use = threads === undefined ? {} : { threads: Number(threads) };
  try {
    const writeSeconds = await writeImageReward(folder);
    const pictures = await writePictures(folder, Math.max(...BATCHES));
    const loads = await measureLoads(folder, use, pictures[0].image);
    const figures = await measureSpeed(folder, use, pictures, { rounds: Number(rounds), python });
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

/** The network, the Gemm program and PyTorch in turns: each round has one of each, so that all meet the same machine. */
async function measureSpeed(folder, use, pictures, { rounds, python }) {
  const device = openDevice(use);
  const flags = ["--threads", String(use.threads ?? availableParallelism())];
  const peer =
    python === undefined ? undefined : await openPeer(python, "image_reward_speed.py", [folder, PROMPT, ...flags]);
  try {
    await peer?.ask({ facts: true }); // it has loaded
    const reward = await openImageReward(folder, device, { batch: Math.max(...BATCHES) });
    const flops = matrixFlops(reward.graph("inference"), { N: 1 });
    const images = pictures.map(({ image }) => image);
    const memory = [];
    for (const batch of BATCHES) {
      await reward.score(PROMPT, images.slice(0, batch));
      memory.push({ batch, device: memoryOf(device.pid), parent: memoryOf(process.pid) });
    }
    const peak = await openGemmPeak(device, reward.weights, 1024, visionProducts);
    const results = BATCHES.map((batch) => ({
      batch,
      seconds: [],
      programSeconds: [],
      peak: [],
      fraction: [],
      programFraction: [],
      peerSeconds: [],
    }));
    let scores = {};
    for (let round = 0; round <= rounds; round++) {
      for (const result of results) {
        const { batch } = result;
        const peakBefore = await peak.flopRate(TOKENS * batch);
        const [started, insideBefore] = [performance.now(), device.runMs];
        const { scores: own } = await reward.score(PROMPT, images.slice(0, batch));
        const seconds = (performance.now() - started) / 1000;
        const inside = (device.runMs - insideBefore) / 1000;
        const rate = (peakBefore + (await peak.flopRate(TOKENS * batch))) / 2;
        const other = await peer?.ask({ batch });
        scores[batch] = { own, other: other?.scores };
        if (round === 0) continue; // first runs allocate
        result.seconds.push(seconds);
        result.programSeconds.push(inside);
        result.peak.push(rate);
        result.fraction.push((flops * batch) / seconds / rate);
        result.programFraction.push((flops * batch) / inside / rate);
        if (other !== undefined) result.peerSeconds.push(other.seconds);
      }
    }
    const facts = await peer?.ask({ facts: true });
    return { flops, memory, results, scores, facts, threads: device.threads };
  } finally {
    peer?.close();
    await device.close();
  }
}

/** The products of the vision transformer's blocks, with their own weights. */
function visionProducts(scope, rows) {
  let state = rows;
  return Array.from({ length: PEAK_BLOCKS }, (_, index) => {
    const block = scope.at("blip", "visual_encoder", "blocks", index);
    const product = (x, name, shape) =>
      gemm(x, block.at(...name).parameter("weight", shape), undefined, { transB: true });
    state = product(state, ["mlp", "fc1"], [4096, 1024]);
    state = product(state, ["mlp", "fc2"], [1024, 4096]);
    state = product(state, ["attn", "proj"], [1024, 1024]);
    return product(state, ["attn", "qkv"], [3072, 1024]);
  });
}

function reportSpeed({ flops, results, threads }) {
  return results.map(({ batch, seconds, programSeconds, peak, fraction, programFraction, peerSeconds }) => {
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
    const row = {
      batch,
      "images/s": imagesPerSecond,
      "of Gemm": ofGemm,
      "in program": insideProgram,
      "Gemm GFLOP/s": gemm,
    };
    if (peerSeconds.length === 0) return row;
    const peer = batch / median(peerSeconds);
    const ratio = median(peerSeconds.map((theirs, i) => theirs / seconds[i]));
    report(`${name}, PyTorch's time / Laurel's`, ratio, "x", null, { pytorchImagesPerSecond: peer });
    return { ...row, "PyTorch images/s": peer, "PyTorch/Laurel": ratio };
  });
}

function reportScores({ scores, facts, flops }) {
  const [one, many] = BATCHES.map((batch) => scores[batch]);
  report("ImageReward, the first picture's score among 8 minus that alone", many.own[0] - one.own[0], "score", "0");
  if (facts === undefined) return;
  const differences = [one, many].flatMap(({ own, other }) => own.map((score, i) => Math.abs(score - other[i])));
  report("ImageReward, largest difference from PyTorch's scores", Math.max(...differences), "score", "<= 1e-3", {
    scores: many.own,
    flopsByPytorchsCount: facts.flops / flops,
  });
  const { loadSeconds, peakRssMB, torch } = facts;
  report("ImageReward in PyTorch, from its weights to the first score", loadSeconds, "s", null, { peakRssMB, torch });
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
