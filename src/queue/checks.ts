/** @file What every queue refuses before it asks a server. */

import { UsageError } from "../errors.js";
import type { JobRequest, WorkOptions } from "./contract.js";

const ID = /^(?=.*[A-Za-z])[A-Za-z0-9_-]{1,200}$/;
const NAME = /^[A-Za-z0-9._-]{1,100}$/;
const HIGHEST = 2_097_151;
const LARGEST = 1_000_000;

/** @throws UsageError */
export function checkQueueName(name: string): void {
  if (!NAME.test(name)) {
    throw new UsageError(`queue: expected a name of 1 to 100 letters, digits, -, _ and ., got ${JSON.stringify(name)}`);
  }
}

/** @throws UsageError */
export function checkJob(job: JobRequest): void {
  checkQueueName(job.queue);
  if (!ID.test(job.id)) {
    throw new UsageError(
      `job: expected an id of 1 to 200 letters, digits, - and _, with a letter, got ${JSON.stringify(job.id)}`,
    );
  }
  if (!Number.isInteger(job.priority) || job.priority < 0 || job.priority > HIGHEST) {
    throw new UsageError(`job ${job.id}: expected a priority of 0 to ${HIGHEST}, got ${job.priority}`);
  }
  const { length } = JSON.stringify(job.data);
  if (length > LARGEST) {
    throw new UsageError(`job ${job.id}: expected at most ${LARGEST} characters of data, got ${length}`);
  }
}

/** @throws UsageError */
export function checkWork(queues: readonly string[], options: WorkOptions): void {
  if (queues.length === 0) throw new UsageError("worker: expected queues to take jobs from, got none");
  for (const queue of queues) checkQueueName(queue);
  const { concurrency = 1, lockMs = 30_000, maximumStalls = 3, rate } = options;
  const check = (what: string, value: number, least: number): void => {
    if (!(Number.isFinite(value) && value >= least)) {
      throw new UsageError(`worker: expected ${what} of at least ${least}, got ${value}`);
    }
  };
  check("a concurrency", concurrency, 1);
  check("lockMs", lockMs, 100);
  check("maximumStalls", maximumStalls, 0);
  if (rate !== undefined) {
    check("rate.jobs", rate.jobs, 1);
    check("rate.perMs", rate.perMs, 1);
  }
}
