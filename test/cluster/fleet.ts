/** @file A queue in this process, a storage in a folder, and workers with small procedural models. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ImageBackend } from "#laurel/backends/contract";
import { startWorker, type WorkerMeans, type WorkerOptions } from "#laurel/cluster/worker";
import { modelRecord, rewardRecords } from "#laurel/library/models";
import type { JobQueue, QueueWorker } from "#laurel/queue/contract";
import { openMemoryQueue } from "#laurel/queue/memory";
import type { Reward } from "#laurel/rewards/contract";
import type { Storage } from "#laurel/storage/contract";
import { openFileStorage } from "#laurel/storage/file";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";

/** What scores in these tests. */
export const CHOICE = { rewardModel: null, rewards: [], heldOut: [] };

/** A queue, a storage, and what is to be closed at the end. */
export interface Fleet {
  readonly queue: JobQueue;
  readonly storage: Storage;
  readonly folder: string;
  work(change?: Partial<WorkerModels>): Promise<QueueWorker>;
  close(): Promise<void>;
}

/** What a worker of a test has. */
export interface WorkerModels extends Partial<WorkerOptions> {
  readonly backend: ImageBackend;
  readonly reward: Reward;
  readonly capabilities: readonly string[];
  readonly storage: Storage;
  readonly means: Partial<WorkerMeans>;
}

/** Opens all of it; workers are begun by `work`. */
export async function openFleet(): Promise<Fleet> {
  const folder = await mkdtemp(join(tmpdir(), "laurel-cluster-"));
  for (const name of ["store", "elsewhere"]) await mkdir(join(folder, name));
  const queue = openMemoryQueue({ retryDelayMs: 5 });
  const storage = openFileStorage(join(folder, "store"));
  const workers: QueueWorker[] = [];
  return {
    queue,
    storage,
    folder,
    async work({
      backend = createProceduralBackend(),
      reward = createBrightnessReward(),
      capabilities = ["local", "score"],
      means = {},
      storage: seen = storage,
      ...options
    } = {}) {
      const worker = await startWorker(
        queue,
        seen,
        capabilities,
        {
          backend: async () => ({ backend, record: await modelRecord(backend) }),
          reward: async () => ({ reward, records: await rewardRecords(reward) }),
          reset: async () => undefined,
          ...means,
        },
        { name: `worker-${workers.length}`, files: join(folder, "files"), ...options },
      );
      workers.push(worker);
      return worker;
    },
    async close() {
      await Promise.all(workers.map((worker) => worker.close(1000)));
      await queue.close();
      await storage.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
