/**
 * @file One ReFL update at full size with random weights: Stable Diffusion 1.5's networks and the ViT-L/16 ImageReward at 256x256, LoRA of rank 4, batch 1:
 * seconds, and the peak memory of device process and caller.
 *
 * npm run bench -- refl-full-size [--memory low] [--steps 10] [--updates 2] [--threads N] [--keep] [--folder DIR]
 * It writes 6 GB below the system's temporary folder and removes them; --keep leaves them for the next time.
 */

import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openDevice } from "../dist/runtime/device.js";
import { TorchGenerator } from "../dist/tensor/random.js";
import { Drawer } from "../dist/training/finetune/drawer.js";
import { createReflLoss } from "../dist/training/finetune/refl.js";
import { createOptimizer } from "../dist/training/optimizer.js";
import { PROMPT as WORDS, writeImageReward } from "./image-reward-files.js";
import { memoryOf } from "./machine.js";
import { report, table } from "./measure.js";
import { SIZES, writeRandomDiffusion } from "./random-diffusion.js";
import { HINGE, openParts } from "./refl-parts.js";

/** Most that device process and caller may hold together. */
const LIMIT_MB = 20 * 1024 * 1.048576;
const PIXELS = { width: 256, height: 256 };

export const options = {
  memory: { type: "string", default: "low" },
  steps: { type: "string", default: "10" },
  updates: { type: "string", default: "2" },
  threads: { type: "string" },
  keep: { type: "boolean", default: false },
  folder: { type: "string", default: join(tmpdir(), "laurel-bench-refl") },
};

export async function run({ memory, steps, updates, threads, keep, folder }) {
  const [diffusion, judge] = [join(folder, "stable-diffusion"), join(folder, "image-reward")];
  const device = openDevice(threads === undefined ? {} : { threads: Number(threads) });
  try {
    await writeRandomDiffusion(diffusion, SIZES.full);
    await writeImageReward(judge);
    const { model, guides } = await openParts(device, { diffusion, judge, rank: 4, pixels: PIXELS });
    for (const [name, value] of model.start) await device.bind(name, value);
    const context = {
      device,
      model,
      drawer: new Drawer(device, model),
      guides,
      memory,
      pickPrompt: () => ({ prompt: WORDS }),
      batchSize: 1,
      signal: undefined,
      warn: () => undefined,
    };
    const sampling = { sampler: "ddpm", steps: Number(steps), guidance: 1 };
    const loss = await createReflLoss(context, { ...HINGE, from: 0.75, sampling });
    const schedule = { type: "constant", learningRate: 1e-4 };
    const optimizer = await createOptimizer(device, "refl", loss.parameters, { schedule, clipNorm: 1 });
    const compiled = memoryOf(device.pid);
    const generator = new TorchGenerator(1);
    const rows = [];
    for (let update = 0; update < Number(updates); update++) {
      const started = performance.now();
      const { loss: value, metrics } = await loss.gradient(generator, "bench");
      const { gradientNorm } = await optimizer.step(update, Number(updates));
      if (!Number.isFinite(value + gradientNorm)) throw new Error(`update: expected finite numbers, got ${value}`);
      rows.push({ update, seconds: (performance.now() - started) / 1000, loss: value, ...metrics, gradientNorm });
    }
    const [own, caller] = [memoryOf(device.pid), memoryOf(process.pid)];
    const name = `ReFL update of Stable Diffusion 1.5's size at ${PIXELS.width}x${PIXELS.height}, memory ${memory}`;
    const compileSeconds = device.compileMs / 1000;
    const facts = { samplerSteps: Number(steps), compileSeconds, threads: device.threads };
    report(name, rows.at(-1).seconds, "s", null, { ...facts, updates: rows });
    const peak = own.peakRss + caller.peakRss;
    report(`${name}: peak memory`, peak, "MB", `<= ${Math.round(LIMIT_MB)}`, { device: own, caller, compiled });
    table(rows);
    table([{ memory, "peak MB": peak, "device MB": own.peakRss, "caller MB": caller.peakRss, compileSeconds }]);
  } finally {
    await device.close();
    if (!keep) await rm(folder, { recursive: true, force: true });
  }
}
