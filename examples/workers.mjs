/**
 * @file A queue, a storage, two workers and what submits to them, here in one process.
 *
 *     node examples/workers.mjs
 *
 * With `openQueue("redis://...")` and `openStorage("s3://...")` each of them is on a machine of its own.
 */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  generate,
  openBackend,
  openDevice,
  openMemoryQueue,
  openReward,
  openStorage,
  openWorkers,
  startWorker,
  WorkerModels,
} from "laurel";

const folder = await mkdtemp(join(tmpdir(), "laurel-workers-"));
const queue = openMemoryQueue();
const storage = await openStorage(folder);

// a worker: it opens its models when the first job needs them
const device = openDevice();
const models = new WorkerModels({ backend: () => openBackend(device), reward: () => openReward(device) });
const done = new Map();
/** @param {string} name */
const start = (name) => {
  /** @param {{ queue: string }} job */
  const onJob = ({ queue: from }) => done.set(from, (done.get(from) ?? 0) + 1);
  return startWorker(queue, storage, ["local", "score"], models, { name, files: join(folder, "files"), onJob });
};
const workers = await Promise.all(["first", "second"].map(start));

// what submits: the workers' models, as a backend and a reward
const choice = { rewardModel: null, rewards: [], heldOut: [] };
const queued = await openWorkers(queue, storage, "local", choice, { inFlight: 4 });
const { candidates } = await generate(queued, { prompt: "a red circle above a blue square", count: 4, seed: 1 });
for (const { rank, seed, score } of candidates) console.log(`${rank}. seed ${seed}, score ${score?.toFixed(3)}`);
for (const [from, jobs] of [...done].sort()) console.log(`${from}: ${jobs} jobs`);

await Promise.all(workers.map((worker) => worker.close()));
await models.close();
await device.close();
await queue.close();
await storage.close();
await rm(folder, { recursive: true });
