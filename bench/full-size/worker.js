/**
 * @file Laurel in a process of its own on the full-size Stable Diffusion, as a program that uses the library: `node bench/full-size/worker.js FOLDER REQUEST`.
 * REQUEST is JSON: {"work": "picture", "steps", "until"} draws a picture of 512x512 (or stops after step `until`, where that is given), {"work": "decode"} decodes latents of that size;
 * "lowMemory" and "tile" as in Laurel, "threads". Prints JSON lines: {"step": n} after each step, at the end {"device", "caller", "peak", ...} in MB.
 */

import { decodeInTiles, decodeLatents } from "../../dist/diffusion/decode.js";
import { openModelParts } from "../../dist/diffusion/open-model.js";
import { openStableDiffusion } from "../../dist/diffusion/stable-diffusion.js";
import { planTiles } from "../../dist/diffusion/tiles.js";
import { openDevice } from "../../dist/runtime/device.js";
import { peakOf, PROMPT, randomTensor } from "./setup.js";

const [folder, request] = process.argv.slice(2);
const { work, steps, until, lowMemory = false, tile, threads } = JSON.parse(request);
const device = openDevice({ lowMemory, ...(threads === undefined ? {} : { threads }) });
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function drawPicture() {
  const diffusion = await openStableDiffusion(folder, device, tile === undefined ? {} : { vaeTile: tile });
  const asked = { prompt: PROMPT, width: 512, height: 512, steps, guidance: 7.5, sampler: "pndm", seed: 1, count: 1 };
  const { trajectory, states } = await diffusion.begin(asked);
  let current = states;
  const all = trajectory.sampler.timesteps.length;
  for (let step = 1; step <= (until ?? all); step++) {
    current = await diffusion.step(trajectory, current);
    print({ step });
  }
  if (until === undefined) await diffusion.decode(trajectory, current);
}

async function decode() {
  const { programs, configs } = await openModelParts(folder, device);
  const trajectory = { latentShape: [4, 64, 64], request: { width: 512, height: 512 } };
  const latents = [randomTensor(5, [1, 4, 64, 64]).data];
  const tiles = planTiles({ width: 64, height: 64 }, tile, configs.factor);
  const decoder = await programs.decoder(tiles.size).get();
  const started = performance.now();
  if (tile === undefined) await decodeLatents(decoder, trajectory, latents, configs.autoencoder, undefined);
  else await decodeInTiles(decoder, trajectory, latents, { ...configs, tiles, signal: undefined });
  return { seconds: (performance.now() - started) / 1000 };
}

const facts = work === "decode" ? await decode() : await drawPicture();
print({ ...facts, ...peakOf(device) });
await device.close();
