/**
 * @file The gradient of one ReFL loss with each of `--memory fast | balanced | low`: peak memory of the device process, time, and how far the gradients
 * are from those of one program. On the demo models, and on networks with random weights between theirs and Stable Diffusion's size.
 *
 * npm run bench -- finetune-memory [--batch 32] [--rounds 5] [--threads N] [--models demo,middle] [--modes fast,balanced,low]
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openDevice } from "../dist/runtime/device.js";
import { createGradientProgram } from "../dist/training/gradient-program.js";
import { memoryOf, processorSeconds } from "./machine.js";
import { median, report, table } from "./measure.js";
import { SIZES, writeRandomDiffusion } from "./random-diffusion.js";
import { feedsOf, objectiveOf, openParts } from "./refl-parts.js";

const DEMO = fileURLToPath(new URL("../models/demo", import.meta.url));
/** Pictures of the random networks are larger, so their batch is smaller. */
const MIDDLE = { pixels: { width: 256, height: 256 }, batch: 2 };

export const options = {
  batch: { type: "string", default: "32" },
  rounds: { type: "string", default: "5" },
  threads: { type: "string" },
  models: { type: "string", default: "demo,middle" },
  modes: { type: "string", default: "fast,balanced,low" },
};

export async function run({ batch, rounds, threads, models, modes }) {
  const folder = await mkdtemp(join(tmpdir(), "laurel-bench-finetune-"));
  const judge = join(DEMO, "image-reward");
  const cases = {
    demo: { diffusion: join(DEMO, "stable-diffusion"), judge, rank: 4, batch: Number(batch) },
    middle: { diffusion: folder, judge, rank: 4, ...MIDDLE },
  };
  try {
    for (const name of models.split(",")) {
      if (name === "middle") await writeRandomDiffusion(folder, SIZES.middle);
      await compare(name, cases[name], modes.split(","), {
        rounds: Number(rounds),
        use: threads === undefined ? {} : { threads: Number(threads) },
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** One device process a mode, all alive at once and run in turns. */
async function compare(name, settings, modes, { rounds, use }) {
  const sides = [];
  try {
    for (const memory of modes) sides.push(await open(memory, settings, use));
    for (let round = 0; round <= rounds; round++) {
      for (const side of sides) {
        const [started, processor] = [performance.now(), processorSeconds(side.device.pid)];
        side.result = await side.program.run(side.feeds, "bench");
        if (round === 0) continue; // the first run allocates
        side.ms.push(performance.now() - started);
        side.processor.push(processorSeconds(side.device.pid) - processor);
      }
    }
    const [reference] = sides;
    const rows = [];
    for (const side of sides) {
      const memory = memoryOf(side.device.pid);
      const ms = median(side.ms);
      const time = median(side.ms.map((own, i) => own / reference.ms[i]));
      const cpu = median(side.processor);
      const { difference, ofOneParameter } = await differences(side, reference);
      const of = { model: name, batch: settings.batch, memory: side.memory };
      const facts = { loss: side.result.loss, startMB: side.started, threads: side.device.threads };
      const details = {
        ...of,
        ms,
        timeToFast: time,
        processorSeconds: cpu,
        difference,
        ofOneParameter,
        compileMs: side.device.compileMs,
        ...facts,
      };
      report(`gradient of ReFL, ${name}, ${side.memory}: peak memory`, memory.peakRss, "MB", null, details);
      rows.push({
        ...of,
        "peak MB": memory.peakRss,
        "loaded MB": side.started,
        ms,
        "x fast": time,
        "processor s": cpu,
        difference,
        "of one": ofOneParameter,
      });
    }
    table(rows);
  } finally {
    await Promise.all(sides.map(({ device }) => device.close()));
  }
}

async function open(memory, settings, use) {
  const device = openDevice(use);
  const parts = await openParts(device, settings);
  const objective = objectiveOf(parts, settings.batch);
  for (const [name, value] of objective.parameters) await device.bind(name, value);
  const program = await createGradientProgram(device, "refl", objective, memory);
  const started = memoryOf(device.pid).rss;
  return { memory, device, program, feeds: feedsOf(parts, settings.batch), started, ms: [], processor: [] };
}

/** |a - b| / |b| by Euclidean norms, of all gradients together and the largest of one parameter's. */
async function differences(side, reference) {
  const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  let [distance, whole, largest] = [0, 0, 0];
  for (const name of side.program.parameters.keys()) {
    const [own, other] = await Promise.all(
      [side, reference].map(async ({ device }) => (await device.fetchBound(`gradient/${name}`)).data),
    );
    const [apart, size] = [norm(other.map((x, i) => x - own[i])), norm(other)];
    distance = Math.hypot(distance, apart);
    whole = Math.hypot(whole, size);
    largest = Math.max(largest, apart / size);
  }
  return { difference: distance / whole, ofOneParameter: largest };
}
