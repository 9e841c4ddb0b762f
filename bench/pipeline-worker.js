/** @file One measured process of the pipeline bench; its request is JSON, its results are lines of JSON. */

import { appendFile, mkdir, open, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { drawGroups } from "../dist/backends/groups.js";
import { decodeRgb } from "../dist/image/decode.js";
import { encodePng } from "../dist/image/png.js";
import { imageText } from "../dist/pipeline/candidate-store.js";
import { loadPipeline } from "../dist/pipeline/document/load.js";
import { createPipelineRun, openPipelineRun } from "../dist/pipeline/execute/pipeline-run.js";
import { runPipeline } from "../dist/pipeline/execute/run-pipeline.js";
import { smallRandom } from "../dist/util/statistics.js";
import { memoryOf } from "./machine.js";

const MODELS = {
  backend: { name: "noise", model: "noise", path: null, digest: null },
  reward: { name: "brightness", model: "brightness", path: null, digest: null },
};
const BATCH = 10;
const PICTURES = 97;

const request = JSON.parse(process.argv[2]);
await { run: measureRun, write: measureWriting, resume: measureResume }[request.work](request);

/** A run from its plan to its end. */
async function measureRun({ parent, count, side, items, sample, durable = false }) {
  const run = await createPipelineRun(parent, await planOf(parent, count, items), MODELS, { durable });
  const models = services(side);
  let next = sample ?? Infinity;
  const [startedAt, cpu] = [performance.now(), process.cpuUsage()];
  await runPipeline(run, {
    ...models,
    onProgress({ candidates }) {
      if (candidates < next) return;
      next += sample;
      tell({ candidates, ...memory() });
    },
  });
  await run.close();
  tell({ directory: run.directory, cpuMs: cpuMs(cpu), seconds: (performance.now() - startedAt) / 1000 });
}

/** Encoding and writing the pictures of a finished run again, in files and lines of the same sizes, and nothing else. */
async function measureWriting({ from, parent }) {
  const lines = (await readFile(join(from, "candidates.jsonl"), "utf8")).split("\n").slice(0, -1);
  const pictures = [];
  for (const line of lines) {
    const { image, ...known } = JSON.parse(line);
    const beside = new Set(["item", "step", "bytes", "sha256"]);
    const record = Object.fromEntries(Object.entries(known).filter(([name]) => !beside.has(name)));
    const png = await readFile(join(from, image));
    pictures.push({ image, line, texts: imageText(record), picture: await decodeRgb(png, image) });
  }
  const out = join(parent, "alone");
  for (const folder of new Set(pictures.map(({ image }) => dirname(image))))
    await mkdir(join(out, folder), { recursive: true });
  const list = await open(join(out, "candidates.jsonl"), "w");
  globalThis.gc();
  const cpu = process.cpuUsage();
  for (const { image, line, texts, picture } of pictures) {
    const png = await encodePng(picture, texts);
    const path = join(out, image);
    await writeFile(`${path}.tmp`, png);
    await rename(`${path}.tmp`, path);
    await appendFile(list, `${line}\n`);
  }
  tell({ cpuMs: cpuMs(cpu), pictures: pictures.length });
}

/** Opening a run and carrying out what it lacks. */
async function measureResume({ directory }) {
  globalThis.gc();
  const beforeMb = memory().rssMb;
  const startedAt = performance.now();
  const run = await openPipelineRun(directory);
  const openSeconds = (performance.now() - startedAt) / 1000;
  const models = services(8);
  await runPipeline(run, models);
  await run.close();
  tell({
    openSeconds,
    beforeMb,
    peakMb: memoryOf(process.pid).peakRss,
    drawn: models.drawn(),
    status: run.manifest.status,
  });
}

async function planOf(folder, count, items) {
  const file = join(folder, "pipeline.json");
  const document = {
    version: 1,
    name: "bench",
    prompts: Array.from({ length: items }, (_, i) => ({ id: `p${i}`, prompt: `prompt number ${i}` })),
    seed: 1,
    steps: [{ generate: { count: count / items, batch: BATCH } }, { score: null }, { select: { keep: 2 } }],
  };
  await writeFile(file, JSON.stringify(document));
  return loadPipeline(file);
}

/** A backend that works as one behind a server does, several groups at once, and a reward. The pictures are made before, so that neither costs anything. */
function services(side) {
  let drawn = 0;
  const random = smallRandom(1);
  const pictures = Array.from({ length: PICTURES }, () => {
    return { width: side, height: side, data: Uint8Array.from({ length: side * side * 3 }, () => random() * 256) };
  });
  const backend = {
    name: "noise",
    model: { name: "noise", path: undefined },
    capabilities: {
      seeds: "exact",
      negativePrompt: false,
      steps: false,
      guidance: false,
      textToImage: true,
      imageToImage: false,
      inpainting: false,
      samplers: [],
      size: { multiple: 8, minimum: 8, maximum: 64 },
      maximumBatch: BATCH,
      cancel: "drawing",
      concurrency: 2,
    },
    defaults: { steps: undefined, guidance: undefined, sampler: undefined, width: side, height: side, batch: BATCH },
    generate: (wanted, given = {}) =>
      drawGroups(wanted, 2, given, async ({ seed, count }) => {
        drawn += count;
        const at = (i) => ({ seed: seed + i, image: pictures[(seed + i) % PICTURES], evaluations: 0 });
        return { images: Array.from({ length: count }, (_, i) => at(i)), warnings: [] };
      }),
    dispose: async () => undefined,
  };
  const reward = {
    name: "brightness",
    model: { name: "brightness", path: undefined },
    range: undefined,
    score: async (_, images) => ({ scores: images.map(({ data }) => data[0] / 255), warnings: [] }),
    dispose: async () => undefined,
  };
  const refiner = () => Promise.reject(new Error("no refiner"));
  return { backend, reward, refiner, drawn: () => drawn };
}

/** User and system time since `before`, all threads of the process. */
function cpuMs(before) {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

function memory() {
  globalThis.gc();
  const { rss, heapUsed } = process.memoryUsage();
  return { rssMb: Math.round(rss / 1e6), heapMb: Math.round(heapUsed / 1e6) };
}

function tell(result) {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
