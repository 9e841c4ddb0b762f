/** @file Takes jobs of a queue in memory. */

import { JobError, type JobHandler, type WorkOptions } from "./contract.js";
import type { MemoryJob, MemoryQueue } from "./memory.js";

/** Where jobs come from and go to. */
export type JobSource = Pick<MemoryQueue, "take" | "giveBack" | "passOn" | "complete" | "fail">;

/** When jobs of each queue were begun, for all workers of a source. */
const BEGUN = new WeakMap<JobSource, Map<string, number[]>>();

/** A worker at work in this process. */
export class MemoryWorker {
  readonly #active = new Map<MemoryJob, Promise<void>>();
  #closed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly source: JobSource,
    readonly queues: readonly string[],
    readonly handler: JobHandler,
    readonly options: WorkOptions,
  ) {}

  get active(): number {
    return this.#active.size;
  }

  /** Takes what there is. */
  wake(): void {
    for (const queue of this.queues) {
      while (!this.#closed && this.#busyWith(queue) < (this.options.concurrency ?? 1) && this.#mayBegin(queue)) {
        const job = this.source.take(queue, this);
        if (job === undefined) break;
        this.#noteBegun(queue);
        const done = this.#do(job).finally(() => {
          this.#active.delete(job);
          this.wake();
        });
        this.#active.set(job, done);
      }
    }
  }

  #busyWith(queue: string): number {
    let busy = 0;
    for (const { request } of this.#active.keys()) if (request.queue === queue) busy++;
    return busy;
  }

  #mayBegin(queue: string): boolean {
    const { rate } = this.options;
    if (rate === undefined) return true;
    const begun = this.#begun(queue).filter((at) => at > Date.now() - rate.perMs);
    if (begun.length < rate.jobs) return true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wake(), begun[0]! + rate.perMs - Date.now() + 1);
    return false;
  }

  #noteBegun(queue: string): void {
    const { rate } = this.options;
    if (rate === undefined) return;
    const begun = this.#begun(queue);
    begun.push(Date.now());
    if (begun.length > rate.jobs) begun.shift();
  }

  #begun(queue: string): number[] {
    const queues = BEGUN.get(this.source) ?? new Map<string, number[]>();
    BEGUN.set(this.source, queues);
    const begun = queues.get(queue) ?? [];
    queues.set(queue, begun);
    return begun;
  }

  async #do(job: MemoryJob): Promise<void> {
    const { id, queue, data } = job.request;
    const { signal } = job.stop!;
    const begun = performance.now();
    const tell = (ok: boolean): void =>
      this.options.onJob?.({ id, queue, ok, ms: Math.round(performance.now() - begun) });
    try {
      const value = await this.handler({ id, queue, data: structuredClone(data), attempt: job.attempts + 1, signal });
      this.source.complete(job, value);
      tell(true);
    } catch (error) {
      // given back already, or now
      if (signal.reason === "stopping") {
        if (job.stop?.signal === signal) this.source.giveBack(job);
      } else if (signal.aborted || !isRefusal(error) || !this.source.passOn(job, this)) {
        if (this.source.fail(job, error)) tell(false);
      }
    }
  }

  async close(graceMs?: number): Promise<void> {
    this.#closed = true;
    const done = Promise.all(this.#active.values());
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      if (graceMs !== undefined) timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([done, patience]);
    clearTimeout(timer);
    clearTimeout(this.#timer);
    for (const job of this.#active.keys()) {
      job.stop?.abort("stopping");
      this.source.giveBack(job);
    }
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof JobError && error.retry === "elsewhere";
}
