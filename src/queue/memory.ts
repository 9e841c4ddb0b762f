/** @file A job queue inside one process: the same contract without a server, gone with the process. */

import { CancelledError, UsageError } from "../errors.js";
import { onAbort } from "../util/abort.js";
import { checkJob, checkQueueName, checkWork } from "./checks.js";
import {
  CANCELLED_FAILURE,
  failureOf,
  JobError,
  JobFailedError,
  type JobFailure,
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
import { MemoryWorker } from "./memory-worker.js";
import type { OpenQueueOptions } from "./open.js";

/** Completed jobs that are remembered. */
const KEPT = 10_000;

interface Caller {
  resolve(value: Json): void;
  reject(error: Error): void;
}

/** A job of a queue in memory. */
export interface MemoryJob {
  readonly request: JobRequest;
  readonly order: number;
  readonly addedAt: Date;
  readonly callers: Set<Caller>;
  state: JobStatus["state"];
  attempts: number;
  failure: JobFailure | null;
  value: Json;
  finishedAt: Date | null;
  /** Those who cannot do it. */
  readonly refused: Set<MemoryWorker>;
  /** While it is under way. */
  stop: AbortController | undefined;
  /** Forgets that it is to be tried again after a pause. */
  giveUp: (() => void) | undefined;
}

/** Opens a queue that lives in this process alone. */
export function openMemoryQueue(options: OpenQueueOptions = {}): JobQueue {
  return new MemoryQueue(options);
}

/** Jobs and workers in one process. */
export class MemoryQueue implements JobQueue {
  readonly address = "memory:";
  readonly #jobs = new Map<string, MemoryJob>();
  /** By queue, the next first. */
  readonly #waiting = new Map<string, MemoryJob[]>();
  readonly #workers = new Set<MemoryWorker>();
  readonly #names = new Set<string>();
  #order = 0;
  #closed = false;

  constructor(readonly options: OpenQueueOptions) {}

  async ready(): Promise<void> {
    this.#checkOpen();
    return Promise.resolve();
  }

  async run(request: JobRequest, options: SubmitOptions = {}): Promise<Json> {
    checkJob(request);
    this.#checkOpen();
    const { signal } = options;
    if (signal?.aborted === true) throw new CancelledError(`job ${request.id} was cancelled`);
    let job = this.#jobs.get(request.id);
    if (job?.state === "completed") return structuredClone(job.value);
    if (job === undefined || job.state === "failed") job = this.#add(request, new Set());
    return this.#wait(job, signal);
  }

  async #wait(job: MemoryJob, signal: AbortSignal | undefined): Promise<Json> {
    let forget = (): void => undefined;
    try {
      return await new Promise<Json>((resolve, reject) => {
        const caller: Caller = { resolve, reject };
        job.callers.add(caller);
        if (signal === undefined) return;
        forget = onAbort(signal, () => {
          job.callers.delete(caller);
          if (job.callers.size === 0) this.#cancel(job);
          reject(new CancelledError(`job ${job.request.id} was cancelled`));
        });
      });
    } finally {
      forget();
    }
  }

  #add(request: JobRequest, callers: Set<Caller>): MemoryJob {
    this.#names.add(request.queue);
    const job: MemoryJob = {
      request: structuredClone(request),
      order: this.#order++,
      addedAt: new Date(),
      callers,
      state: "waiting",
      attempts: 0,
      failure: null,
      value: null,
      finishedAt: null,
      refused: new Set(),
      stop: undefined,
      giveUp: undefined,
    };
    this.#jobs.delete(request.id);
    this.#jobs.set(request.id, job);
    this.giveBack(job);
    return job;
  }

  /** The job that is next for a worker of a queue; it is under way from now on. */
  take(queue: string, worker: MemoryWorker): MemoryJob | undefined {
    const waiting = this.#waiting.get(queue) ?? [];
    const place = waiting.findIndex((job) => !job.refused.has(worker) || !this.#hasAble(job));
    const [next] = place === -1 ? [] : waiting.splice(place, 1);
    if (next === undefined) return undefined;
    next.state = "active";
    next.stop = new AbortController();
    return next;
  }

  /** A job under way goes back to those who wait. */
  giveBack(job: MemoryJob): void {
    job.state = "waiting";
    job.stop = undefined;
    const waiting = this.#waiting.get(job.request.queue) ?? [];
    this.#waiting.set(job.request.queue, waiting);
    // most are added last
    let place = waiting.length;
    while (place > 0 && isBefore(job, waiting[place - 1]!)) place--;
    waiting.splice(place, 0, job);
    for (const worker of this.#workers) worker.wake();
  }

  /** A job waits for another worker than `worker`, which cannot do it. @returns false where all that are there have refused it */
  passOn(job: MemoryJob, worker: MemoryWorker): boolean {
    job.refused.add(worker);
    if (!this.#hasAble(job)) return false;
    this.giveBack(job);
    return true;
  }

  /** Whether there is a worker that has not refused a job. */
  #hasAble({ request, refused }: MemoryJob): boolean {
    return [...this.#workers].some((one) => one.queues.includes(request.queue) && !refused.has(one));
  }

  complete(job: MemoryJob, value: Json): void {
    this.#end(job, "completed");
    job.value = structuredClone(value);
    for (const caller of job.callers) caller.resolve(structuredClone(value));
    job.callers.clear();
    this.#forgetOldest();
  }

  /** A handler threw. @returns whether that was the last attempt */
  fail(job: MemoryJob, error: unknown): boolean {
    const { attempts = 4, retryDelayMs = 1000 } = this.options;
    const cancelled = job.stop?.signal.reason === "cancelled";
    job.attempts++;
    job.failure = cancelled ? CANCELLED_FAILURE : failureOf(error);
    const final = cancelled || (error instanceof JobError && error.retry === false) || job.attempts >= attempts;
    if (!final) {
      job.state = "delayed";
      job.stop = undefined;
      const delay = retryDelayMs * 2 ** (job.attempts - 1) * (0.5 + 0.5 * Math.random());
      const timer = setTimeout(() => this.giveBack(job), delay);
      job.giveUp = () => clearTimeout(timer);
      return false;
    }
    this.#end(job, "failed");
    if (cancelled && job.callers.size > 0) {
      // by another: those who wait still want it
      this.#add(job.request, job.callers);
      return true;
    }
    const { id } = job.request;
    for (const caller of job.callers) caller.reject(new JobFailedError(id, job.failure));
    job.callers.clear();
    return true;
  }

  #end(job: MemoryJob, state: "completed" | "failed"): void {
    job.state = state;
    job.stop = undefined;
    job.finishedAt = new Date();
    if (state === "completed") job.attempts++;
  }

  #forgetOldest(): void {
    if (this.#jobs.size <= KEPT) return;
    for (const [id, job] of this.#jobs) {
      if (this.#jobs.size <= KEPT) return;
      if (job.state === "completed") this.#jobs.delete(id);
    }
  }

  #cancel(job: MemoryJob): boolean {
    if (job.state === "completed" || job.state === "failed") return false;
    if (job.stop !== undefined) {
      job.stop.abort("cancelled");
      return true;
    }
    job.giveUp?.();
    this.#jobs.delete(job.request.id);
    const waiting = this.#waiting.get(job.request.queue) ?? [];
    if (waiting.includes(job)) waiting.splice(waiting.indexOf(job), 1);
    if (job.callers.size > 0) this.#add(job.request, job.callers);
    return true;
  }

  async work(queues: readonly string[], handler: JobHandler, options: WorkOptions): Promise<QueueWorker> {
    checkWork(queues, options);
    this.#checkOpen();
    const worker = new MemoryWorker(this, [...new Set(queues)], handler, options);
    for (const queue of queues) this.#names.add(queue);
    this.#workers.add(worker);
    worker.wake();
    return Promise.resolve({
      get active() {
        return worker.active;
      },
      connected: true,
      close: async (graceMs) => {
        this.#workers.delete(worker);
        // what only it had not refused
        for (const other of this.#workers) other.wake();
        await worker.close(graceMs);
      },
    });
  }

  async queues(): Promise<readonly string[]> {
    return Promise.resolve([...this.#names].sort());
  }

  async counts(queue?: string): Promise<Readonly<Record<JobStatus["state"], number>>> {
    const counts = { waiting: 0, delayed: 0, active: 0, completed: 0, failed: 0 };
    for (const { state, request } of this.#jobs.values()) {
      if (queue === undefined || request.queue === queue) counts[state]++;
    }
    return Promise.resolve(counts);
  }

  async list(
    filter: { readonly queue?: string; readonly states?: readonly JobStatus["state"][] },
    limit: number,
  ): Promise<readonly JobStatus[]> {
    const { queue, states } = filter;
    if (queue !== undefined) checkQueueName(queue);
    const jobs = [...this.#jobs.values()].filter(
      (job) => (queue === undefined || job.request.queue === queue) && (states?.includes(job.state) ?? true),
    );
    return Promise.resolve(
      jobs
        .sort((a, b) => b.order - a.order)
        .slice(0, Math.max(0, limit))
        .map(statusOf),
    );
  }

  async find(id: string): Promise<JobStatus | undefined> {
    const job = this.#jobs.get(id);
    return Promise.resolve(job === undefined ? undefined : statusOf(job));
  }

  async workers(queue: string): Promise<readonly string[]> {
    const working = [...this.#workers].filter((worker) => worker.queues.includes(queue));
    return Promise.resolve(working.map((worker) => worker.options.name).sort());
  }

  async retry(id: string): Promise<boolean> {
    const job = this.#jobs.get(id);
    if (job?.state !== "failed") return Promise.resolve(false);
    this.#add(job.request, new Set());
    return Promise.resolve(true);
  }

  async cancel(id: string): Promise<boolean> {
    const job = this.#jobs.get(id);
    return Promise.resolve(job === undefined ? false : this.#cancel(job));
  }

  async remove(id: string): Promise<boolean> {
    const state = this.#jobs.get(id)?.state;
    return Promise.resolve(state === "completed" || state === "failed" ? this.#jobs.delete(id) : false);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#workers].map(async (worker) => worker.close(0)));
    const error = new QueueError(`${this.address}: expected to be open while jobs are waited for, got closed`);
    for (const job of this.#jobs.values()) {
      job.giveUp?.();
      for (const caller of job.callers) caller.reject(error);
      job.callers.clear();
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new UsageError(`${this.address}: expected an open queue, got one that was closed`);
  }
}

function isBefore(job: MemoryJob, other: MemoryJob): boolean {
  const { priority } = job.request;
  return priority < other.request.priority || (priority === other.request.priority && job.order < other.order);
}

function statusOf(job: MemoryJob): JobStatus {
  return {
    ...job.request,
    state: job.state,
    attempts: job.attempts,
    stalled: 0,
    failure: job.failure,
    addedAt: job.addedAt.toISOString(),
    finishedAt: job.finishedAt?.toISOString() ?? null,
  };
}
