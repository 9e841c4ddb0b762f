/** @file What administrators do with single BullMQ jobs. */

import type { Job, Queue } from "bullmq";
import { isCancelled, statusOf } from "./bullmq-codec.js";
import type { JobStatus } from "./contract.js";

/** Laurel's states, and BullMQ's that they stand for. */
const STATES = {
  waiting: ["waiting", "prioritized"],
  delayed: ["delayed"],
  active: ["active"],
  completed: ["completed"],
  failed: ["failed"],
} as const satisfies Record<JobStatus["state"], readonly string[]>;

/** Every state, in the order of a job's life. */
export const JOB_STATES = Object.keys(STATES) as readonly JobStatus["state"][];

/** A job's state, undefined when there is no such job. */
async function stateOf(queue: Queue, id: string): Promise<JobStatus["state"] | undefined> {
  const state: string = await queue.getJobState(id);
  return JOB_STATES.find((own) => (STATES[own] as readonly string[]).includes(state));
}

/** Removes a job that waits, has the worker of one under way stop. @returns false where it was done, or there is none */
export async function withdraw(queue: Queue, id: string): Promise<boolean> {
  const state = await stateOf(queue, id);
  if (state === undefined || state === "completed" || state === "failed") return false;
  // one that is under way is locked, unless its worker vanished
  if ((await queue.remove(id)) > 0) return true;
  const job: Job | undefined = await queue.getJob(id);
  if (job === undefined || job.finishedOn !== undefined) return false;
  if (!isCancelled(job.data)) await job.updateData({ ...(job.data as object), cancelled: true });
  return true;
}

/** A job as it stands. */
export async function findJob(queue: Queue, id: string): Promise<JobStatus | undefined> {
  const job: Job | undefined = await queue.getJob(id);
  const state = job === undefined ? undefined : await stateOf(queue, id);
  return job === undefined || state === undefined ? undefined : statusOf(job, state);
}

/** Forgets a job that ended. */
export async function removeEnded(queue: Queue, id: string): Promise<boolean> {
  const state = await stateOf(queue, id);
  if (state !== "completed" && state !== "failed") return false;
  return (await queue.remove(id)) > 0;
}

/** Jobs of some states, at most `limit` of each. */
export async function listJobs(
  queue: Queue,
  states: readonly JobStatus["state"][],
  limit: number,
): Promise<readonly JobStatus[]> {
  const lists = await Promise.all(
    states.map(async (state) => {
      const jobs = await Promise.all(STATES[state].map(async (own) => queue.getJobs([own], 0, limit - 1, false)));
      return jobs.flat().map((job) => statusOf(job, state));
    }),
  );
  return lists.flat();
}

/** How many jobs there are of each state. */
export async function countJobs(queue: Queue): Promise<Record<JobStatus["state"], number>> {
  const counts = await queue.getJobCounts(...JOB_STATES.flatMap((state) => STATES[state]));
  const total = (state: JobStatus["state"]): number => STATES[state].reduce((sum, own) => sum + (counts[own] ?? 0), 0);
  return Object.fromEntries(JOB_STATES.map((state) => [state, total(state)])) as Record<JobStatus["state"], number>;
}

/** Names of the workers of a queue that are connected. */
export async function workerNames(queue: Queue): Promise<readonly string[]> {
  const clients = await queue.getWorkers();
  const names = clients.map((client) => /:w:(.*)$/s.exec(client["rawname"] ?? "")?.[1] ?? "");
  return names.filter((name) => name !== "").sort();
}
