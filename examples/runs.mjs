/**
 * @file Runs on disk: one is started, interrupted, taken up again, read, and repeated to see whether it gives the same bytes.
 *
 *     node examples/runs.mjs [folder]
 *
 * A run's folder holds the pictures, `run.json`, `candidates.jsonl`, `report.html` and `grid.png`. Without a `folder` of its own it is removed.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CancelledError,
  compareRuns,
  finishRun,
  openBackend,
  openDevice,
  openReward,
  openRun,
  rankedCandidates,
  readRun,
  repeatRun,
  startRun,
} from "laurel";

const folder = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "laurel-example-")));
const device = openDevice();
const models = { backend: await openBackend(device), reward: await openReward(device) };

// Write: interrupted after the first group of four, as Ctrl-C would.
const started = await startRun(folder, models, { prompt: "an orange triangle", count: 8, keep: 2, seed: 21, batch: 4 });
const controller = new AbortController();
try {
  await finishRun(started, models, {
    signal: controller.signal,
    onProgress: ({ finished }) => {
      if (finished >= 4) controller.abort();
    },
  });
} catch (error) {
  if (!(error instanceof CancelledError)) throw error;
}

// Read: anyone may, at any time.
const interrupted = await readRun(started.directory);
console.log(`${interrupted.manifest.status} with ${interrupted.candidates.length} of 8 candidates`);

// Resume: the models must be the ones the run was started with.
const finished = await finishRun(await openRun(started.directory), models);
console.log(`${finished.manifest.status} with ${finished.candidates.length} of 8 candidates`);
for (const { rank, seed, score, kept, image } of rankedCandidates(finished).slice(0, 3)) {
  console.log(`${rank}. seed ${seed}, score ${score?.toFixed(3)}${kept ? ", kept" : ""}: ${image}`);
}

// Repeat: the same seeds, settings and models.
const again = await finishRun(await repeatRun(folder, finished, models), models);
const { compared, different } = compareRuns(finished, again);
console.log(`${compared - different.length} of ${compared} pictures are the same bytes`);
console.log(`the page of the run is ${finished.report}`);
await device.close();
if (process.argv[2] === undefined) await rm(folder, { recursive: true });
