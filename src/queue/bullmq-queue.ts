/** @file The job queue on BullMQ, whatever its server. */

import type { Queue } from "bullmq";
import { UsageError } from "../errors.js";
import { unlessAborted } from "../util/abort.js";
import { asQueueError } from "./faults.js";
import { Channel, type ChannelSettings, jobOptions } from "./bullmq-channel.js";
import { countJobs, findJob, JOB_STATES, listJobs, removeEnded, withdraw, workerNames } from "./bullmq-jobs.js";
import { writeWork } from "./bullmq-codec.js";
import { type QueueServer, within } from "./bullmq-server.js";
import { BullWorker } from "./bullmq-worker.js";
import {
  type JobHandler,
  type JobQueue,
  type JobRequest,
  type JobStatus,
  type Json,
  QueueError,
  type QueueWorker,
  type SubmitOptions,
  type WorkOptions,
} from "./contract.js";
import { checkJob, checkQueueName, checkWork } from "./checks.js";

/** Longest that a question of an administrator may take. */
const ANSWER_MS = 10_000;

/** A job queue on BullMQ. */
export class BullQueue implements JobQueue {
  readonly #channels = new Map<string, Channel>();
  readonly #workers = new Set<BullWorker>();
  #opened: Promise<void> | undefined;

  constructor(
    readonly server: QueueServer,
    readonly errors: ConstructorParameters<typeof BullWorker>[1],
    readonly settings: ChannelSettings,
  ) {}

  get address(): string {
    return this.server.presence.address;
  }

  async ready(): Promise<void> {
    this.#checkOpen();
    for (const warning of await this.server.probe()) this.server.presence.notify(warning);
  }

  async run(job: JobRequest, options: SubmitOptions = {}): Promise<Json> {
    checkJob(job);
    const deaf = this.server.presence.listen(options.onNotice);
    try {
      await unlessAborted(this.#open(), options.signal, `job ${job.id}`);
      return await this.#channel(job.queue).run(job, options.signal);
    } finally {
      deaf();
    }
  }

  async work(queues: readonly string[], handler: JobHandler, options: WorkOptions): Promise<QueueWorker> {
    checkWork(queues, options);
    const worker = new BullWorker(this.server, this.errors, handler, options);
    try {
      await this.#open();
      for (const queue of new Set(queues)) await worker.take(queue);
    } catch (error) {
      await worker.close(0);
      throw error;
    }
    this.#workers.add(worker);
    return worker;
  }

  async queues(): Promise<readonly string[]> {
    return this.#ask(async () => this.server.names());
  }

  async counts(queue?: string): Promise<Readonly<Record<JobStatus["state"], number>>> {
    return this.#ask(async () => {
      const counts = await Promise.all((await this.#named(queue)).map(countJobs));
      const total = (state: JobStatus["state"]): number => counts.reduce((sum, each) => sum + each[state], 0);
      return Object.fromEntries(JOB_STATES.map((state) => [state, total(state)])) as Record<JobStatus["state"], number>;
    });
  }

  async list(
    filter: { readonly queue?: string; readonly states?: readonly JobStatus["state"][] },
    limit: number,
  ): Promise<readonly JobStatus[]> {
    if (limit < 1) return [];
    return this.#ask(async () => {
      const named = await this.#named(filter.queue);
      const lists = await Promise.all(
        named.map(async (queue) => listJobs(queue, filter.states ?? JOB_STATES, Math.ceil(limit))),
      );
      return lists
        .flat()
        .sort((a, b) => b.addedAt.localeCompare(a.addedAt))
        .slice(0, limit);
    });
  }

  async find(id: string): Promise<JobStatus | undefined> {
    return this.#ask(async () => (await this.#locate(id))?.status);
  }

  async workers(queue: string): Promise<readonly string[]> {
    checkQueueName(queue);
    return this.#ask(async () => workerNames(this.server.queue(queue)));
  }

  async retry(id: string): Promise<boolean> {
    return this.#ask(async () => {
      const found = await this.#locate(id);
      if (found?.status.state !== "failed") return false;
      const { queue, status } = found;
      // BullMQ's own repetition keeps that workers vanished, and fails the job at once
      await queue.remove(id);
      await queue.add("job", writeWork(status.data), jobOptions(status, this.settings));
      return true;
    });
  }

  async cancel(id: string): Promise<boolean> {
    return this.#ask(async () => {
      const found = await this.#locate(id);
      return found === undefined ? false : withdraw(found.queue, id);
    });
  }

  async remove(id: string): Promise<boolean> {
    return this.#ask(async () => {
      const found = await this.#locate(id);
      return found === undefined ? false : removeEnded(found.queue, id);
    });
  }

  async close(): Promise<void> {
    if (this.server.ended.aborted) return;
    await Promise.all([...this.#workers].map(async (worker) => worker.close(0)));
    await Promise.all([...this.#channels.values()].map(async (channel) => channel.close()));
    await this.server.close();
  }

  async #locate(id: string): Promise<{ readonly queue: Queue; readonly status: JobStatus } | undefined> {
    // what no id looks like is no job's
    if (!/^[A-Za-z0-9_-]+$/.test(id)) return undefined;
    for (const queue of await this.#named(undefined)) {
      const status = await findJob(queue, id);
      if (status !== undefined) return { queue, status };
    }
    return undefined;
  }

  async #named(queue: string | undefined): Promise<readonly Queue[]> {
    if (queue !== undefined) checkQueueName(queue);
    return (queue === undefined ? await this.server.names() : [queue]).map((name) => this.server.queue(name));
  }

  #channel(name: string): Channel {
    let channel = this.#channels.get(name);
    if (channel === undefined) {
      channel = new Channel(this.server, name, this.settings);
      this.#channels.set(name, channel);
    }
    return channel;
  }

  /** The server was there once: from then on it is waited for. */
  async #open(): Promise<void> {
    this.#checkOpen();
    this.#opened ??= this.ready();
    try {
      await this.#opened;
    } catch (error) {
      this.#opened = undefined;
      throw error;
    }
  }

  #checkOpen(): void {
    if (this.server.ended.aborted)
      throw new UsageError(`${this.address}: expected an open queue, got one that was closed`);
  }

  /** An answer in good time, or what keeps the server from giving it. */
  async #ask<T>(question: () => Promise<T>): Promise<T> {
    await this.#open();
    const answer = await within(
      question().then(
        (value) => ({ value }),
        (error: unknown) => {
          throw asQueueError(this.address, error);
        },
      ),
      ANSWER_MS,
    );
    if (answer !== undefined) return answer.value;
    await this.ready();
    throw new QueueError(`${this.address}: expected an answer within ${ANSWER_MS / 1000} s, got none`);
  }
}
