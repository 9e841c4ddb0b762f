/**
 * @file Peak memory of the device process with and without `--low-memory`: decoding one picture whole and in tiles, and generating one, at Stable
 * Diffusion 1.5's size with random weights; and how far pictures decoded in tiles are from those decoded whole, on the demo model, too.
 *
 * npm run bench -- low-memory [--folder DIR] [--size 512] [--tiles 0,384,256,192] [--steps 1] [--parts decode,generate,demo] [--threads N]
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodeInTiles, decodeLatents } from "../dist/diffusion/decode.js";
import { openModelParts } from "../dist/diffusion/open-model.js";
import { openStableDiffusion } from "../dist/diffusion/stable-diffusion.js";
import { isCut, planTiles } from "../dist/diffusion/tiles.js";
import { openDevice } from "../dist/runtime/device.js";
import { memoryOf } from "./machine.js";
import { report, table } from "./measure.js";
import { SIZES, writeRandomDiffusion } from "./random-diffusion.js";

const DEMO = fileURLToPath(new URL("../models/demo/stable-diffusion", import.meta.url));
const PROMPT = "a red circle above a blue square";

export const options = {
  folder: { type: "string" },
  size: { type: "string", default: "512" },
  tiles: { type: "string", default: "0,384,256,192" },
  steps: { type: "string", default: "1" },
  parts: { type: "string", default: "decode,generate,demo" },
  threads: { type: "string" },
};

export async function run({ folder, size, tiles, steps, parts, threads }) {
  const own = folder === undefined;
  const directory = folder ?? (await mkdtemp(join(tmpdir(), "laurel-bench-low-memory-")));
  const use = threads === undefined ? {} : { threads: Number(threads) };
  try {
    const asked = parts.split(",");
    if (asked.some((part) => part !== "demo")) await writeRandomDiffusion(directory, SIZES.full);
    if (asked.includes("decode")) await decoding(directory, Number(size), tiles.split(",").map(Number), use);
    if (asked.includes("generate")) await generating(directory, Number(size), Number(steps), use);
    if (asked.includes("demo")) await likeness(use);
  } finally {
    if (own) await rm(directory, { recursive: true, force: true });
  }
}

/** Latents of unit variance, the same each time. */
function noise(count) {
  return Float32Array.from({ length: count }, (_, i) => Math.SQRT2 * Math.sin(12.9898 * i + 78.233 * Math.cos(i)));
}

/** One decode in a process of its own; a tile of 0 pixels decodes whole. */
async function decodeOnce(directory, side, tile, use) {
  const device = openDevice({ ...use, lowMemory: tile > 0 });
  try {
    const { programs, configs } = await openModelParts(directory, device);
    const { factor, autoencoder } = configs;
    const cells = { width: side / factor, height: side / factor };
    const trajectory = {
      latentShape: [autoencoder.latentChannels, cells.height, cells.width],
      request: { width: side, height: side },
    };
    const latents = [noise(autoencoder.latentChannels * cells.width * cells.height)];
    const plan = planTiles(cells, tile === 0 ? undefined : tile, factor);
    const decoder = await programs.decoder(plan.size).get();
    const started = performance.now();
    const [image] = isCut(plan)
      ? await decodeInTiles(decoder, trajectory, latents, { ...configs, tiles: plan })
      : await decodeLatents(decoder, trajectory, latents, autoencoder);
    const seconds = (performance.now() - started) / 1000;
    return { image, seconds, count: plan.tops.length * plan.lefts.length, ...memoryOf(device.pid) };
  } finally {
    await device.close();
  }
}

async function decoding(directory, side, tiles, use) {
  const rows = [];
  let whole;
  for (const tile of tiles) {
    const decoded = await decodeOnce(directory, side, tile, use);
    whole ??= decoded;
    const { mean, most } = difference(whole.image.data, decoded.image.data);
    const row = { tile, tiles: decoded.count, peakMB: decoded.peakRss, share: decoded.peakRss / whole.peakRss, seconds: decoded.seconds, mean, most }; // prettier-ignore
    rows.push(row);
    report(`decode ${side}x${side}, tiles of ${tile}`, decoded.peakRss, "MB", tile === 384 ? "<= half" : null, row);
  }
  table(rows);
}

async function generating(directory, side, steps, use) {
  const rows = [];
  for (const lowMemory of [false, true]) {
    const device = openDevice({ ...use, lowMemory });
    try {
      const diffusion = await openStableDiffusion(directory, device);
      const started = performance.now();
      const request = { prompt: PROMPT, seed: 1, steps, count: 1, width: side, height: side };
      await diffusion.generate(request).next();
      const row = { lowMemory, peakMB: memoryOf(device.pid).peakRss, seconds: (performance.now() - started) / 1000 };
      rows.push(row);
      report(`generate ${side}x${side}${lowMemory ? ", --low-memory" : ""}`, row.peakMB, "MB", null, row);
    } finally {
      await device.close();
    }
  }
  table(rows);
}

/** On a trained autoencoder: pictures of the demo model, twice its own side, in tiles of three quarters and half of that. */
async function likeness(use) {
  const device = openDevice(use);
  const draw = async (vaeTile) => {
    const diffusion = await openStableDiffusion(DEMO, device, { vaeTile });
    const images = [];
    for await (const group of diffusion.generate({ prompt: PROMPT, seed: 1, count: 8, width: 128, height: 128 }))
      images.push(...group.images);
    await diffusion.dispose();
    return Uint8Array.from(images.flatMap(({ image }) => [...image.data]));
  };
  try {
    const whole = await draw(undefined);
    const rows = [];
    for (const tile of [96, 64]) {
      rows.push({ tile, ...difference(whole, await draw(tile)) });
      report(`demo pictures, tiles of ${tile}`, rows.at(-1).mean, "levels of 255", null, rows.at(-1));
    }
    table(rows);
  } finally {
    await device.close();
  }
}

/** Mean and largest difference of two pictures, in levels of 255. */
function difference(a, b) {
  let [sum, most] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const gap = Math.abs(a[i] - b[i]);
    sum += gap;
    most = Math.max(most, gap);
  }
  return { mean: sum / a.length, most };
}
