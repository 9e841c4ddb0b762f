/** @file All submitters of one queue in this process: jobs are added, watched and withdrawn in batches, through one stream of events. */

import type { JobsOptions, KeepJobs, QueueEvents } from "bullmq";
import { CancelledError } from "../errors.js";
import { onAbort, pause } from "../util/abort.js";
import { readFailure, readValue, writeWork } from "./bullmq-codec.js";
import { withdraw } from "./bullmq-jobs.js";
import { closingMs, type JobEnd, type QueueServer, within } from "./bullmq-server.js";
import { CANCELLED_FAILURE, JobFailedError, type JobRequest, type Json, QueueError } from "./contract.js";
import { asQueueError } from "./faults.js";
import { patiently } from "./presence.js";

const BATCH = 250;
/** Events are lost when a server restarts or falls behind: each job that is waited for is asked for now and then. */
const POLL_MS = 1000;
const ASKED_AT_ONCE = 500;
/** A run that is cancelled waits so long for its job to be withdrawn. */
const WITHDRAW_MS = 3000;

/** Settings of jobs. */
export interface ChannelSettings {
  readonly attempts: number;
  readonly retryDelayMs: number;
  readonly keep: KeepJobs;
}

interface Caller {
  resolve(value: Json): void;
  reject(error: Error): void;
}

interface Wait {
  readonly job: JobRequest;
  readonly callers: Set<Caller>;
  askedAt: number;
}

/** Submits jobs of one queue. */
export class Channel {
  readonly #waits = new Map<string, Wait>();
  /** To be looked for, and added where they are missing. */
  readonly #begun = new Set<string>();
  /** Of which something was heard that needs a look. */
  readonly #heard = new Set<string>();
  readonly #withdrawn = new Map<string, Promise<unknown>>();
  readonly #ended = new AbortController();
  #pumping: Promise<void> | undefined;
  #started: Promise<void> | undefined;
  #events: QueueEvents | undefined;

  constructor(
    readonly server: QueueServer,
    readonly name: string,
    readonly settings: ChannelSettings,
  ) {
    server.presence.onFound(() => {
      for (const wait of this.#waits.values()) wait.askedAt = 0;
    });
  }

  /** Has a job done. See `JobQueue.run`. */
  async run(job: JobRequest, signal: AbortSignal | undefined): Promise<Json> {
    if (signal?.aborted === true) throw new CancelledError(`job ${job.id} was cancelled`);
    this.#started ??= this.#start();
    let wait = this.#waits.get(job.id);
    if (wait === undefined) {
      wait = { job, callers: new Set(), askedAt: Date.now() };
      this.#waits.set(job.id, wait);
      this.#begun.add(job.id);
      this.#pump();
    }
    return this.#wait(wait, signal);
  }

  async #wait(wait: Wait, signal: AbortSignal | undefined): Promise<Json> {
    let forget = (): void => undefined;
    try {
      return await new Promise<Json>((resolve, reject) => {
        const caller: Caller = { resolve, reject };
        wait.callers.add(caller);
        if (signal === undefined) return;
        forget = onAbort(signal, () => {
          wait.callers.delete(caller);
          void this.#leave(wait).finally(() => reject(new CancelledError(`job ${wait.job.id} was cancelled`)));
        });
      });
    } finally {
      forget();
    }
  }

  /** The last one who waited for a job here has gone: it is withdrawn. */
  async #leave(wait: Wait): Promise<void> {
    const { id } = wait.job;
    if (wait.callers.size > 0 || this.#waits.get(id) !== wait) return;
    this.#waits.delete(id);
    // never added
    if (this.#begun.delete(id)) return;
    const withdrawal = (this.#pumping ?? Promise.resolve()).then(async () => {
      if (this.#waits.has(id)) return;
      await patiently(this.server.presence, this.server.ended, async () => withdraw(this.server.queue(this.name), id));
    });
    this.#withdrawn.set(id, withdrawal);
    void withdrawal.catch(() => undefined).finally(() => this.#withdrawn.delete(id));
    await within(
      withdrawal.catch(() => undefined),
      WITHDRAW_MS,
    );
  }

  async #start(): Promise<void> {
    const { server, name } = this;
    const patience = async <T>(operation: () => Promise<T>): Promise<T> =>
      patiently(server.presence, this.#ended.signal, operation);
    await patience(async () => server.remember(name));
    const events = server.events(name, await patience(async () => server.lastEvent(name)));
    this.#events = events;
    events.on("completed", ({ jobId, returnvalue }) => this.#complete(jobId, returnvalue));
    const hear = ({ jobId }: { readonly jobId: string }): void => {
      if (!this.#waits.has(jobId)) return;
      this.#heard.add(jobId);
      this.#pump();
    };
    events.on("failed", hear);
    events.on("removed", hear);
    void this.#listen(events);
    void this.#poll();
  }

  async #listen(events: QueueEvents): Promise<void> {
    for (let attempt = 0; !this.#ended.signal.aborted; attempt++) {
      await events.run().catch(() => undefined);
      await pause(1000, this.#ended.signal);
    }
  }

  async #poll(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await pause(POLL_MS * (0.75 + 0.5 * Math.random()), this.#ended.signal);
      if (this.server.presence.away) continue;
      const before = Date.now() - this.server.silenceMs;
      let asked = 0;
      for (const [id, wait] of this.#waits) {
        if (wait.askedAt > before || this.#begun.has(id)) continue;
        this.#heard.add(id);
        if (++asked === ASKED_AT_ONCE) break;
      }
      if (asked > 0) this.#pump();
    }
  }

  /** Sees to all that was begun or heard of, a batch at a time; one of it runs at once. */
  #pump(): void {
    this.#pumping ??= (async () => {
      // what is submitted in one go is one batch
      await Promise.resolve();
      await this.#started;
      while (!this.#ended.signal.aborted) {
        if (this.#begun.size > 0) await this.#begin(take(this.#begun, BATCH));
        else if (this.#heard.size > 0) await this.#look(take(this.#heard, BATCH));
        else break;
      }
    })()
      .catch((error: unknown) => this.#failAll(asQueueError(this.server.presence.address, error)))
      .finally(() => {
        this.#pumping = undefined;
        if ((this.#begun.size > 0 || this.#heard.size > 0) && !this.#ended.signal.aborted) this.#pump();
      });
  }

  /** Jobs that were submitted: the missing are added, the failed are added anew, the done give their value. */
  async #begin(ids: readonly string[]): Promise<void> {
    const missing: string[] = [];
    for (const [id, end] of await this.#ends(ids)) {
      if (end.state === "completed") this.#complete(id, end.written);
      else if (end.state === "failed") missing.push(await this.#forget(id));
      else if (end.state === "missing") missing.push(id);
    }
    await this.#add(missing);
  }

  /** Jobs that are waited for, of which something was heard. */
  async #look(ids: readonly string[]): Promise<void> {
    const missing: string[] = [];
    for (const [id, end] of await this.#ends(ids)) {
      if (end.state === "completed") this.#complete(id, end.written);
      else if (end.state === "missing") missing.push(id);
      else if (end.state === "failed") {
        const failure = readFailure(end.reason);
        // by another who submitted it
        if (failure.name === CANCELLED_FAILURE.name) missing.push(await this.#forget(id));
        else this.#settle(id, (caller) => caller.reject(new JobFailedError(id, failure)));
      }
    }
    await this.#add(missing);
  }

  async #ends(ids: readonly string[]): Promise<readonly (readonly [string, JobEnd])[]> {
    const now = Date.now();
    for (const id of ids) {
      const wait = this.#waits.get(id);
      if (wait !== undefined) wait.askedAt = now;
    }
    const ends = await patiently(this.server.presence, this.#ended.signal, async () =>
      this.server.ends(this.name, ids),
    );
    return ids.map((id, index) => [id, ends[index]!]);
  }

  async #forget(id: string): Promise<string> {
    const queue = this.server.queue(this.name);
    await patiently(this.server.presence, this.#ended.signal, async () => queue.remove(id));
    return id;
  }

  async #add(ids: readonly string[]): Promise<void> {
    const jobs = ids.flatMap((id) => this.#waits.get(id)?.job ?? []);
    if (jobs.length === 0) return;
    const entries = jobs.map((job) => ({
      name: "job",
      data: writeWork(job.data),
      opts: jobOptions(job, this.settings),
    }));
    await patiently(this.server.presence, this.#ended.signal, async () => {
      // a server that forgot its data forgot that there is such a queue
      await this.server.remember(this.name);
      await this.server.queue(this.name).addBulk(entries);
    });
  }

  #complete(id: string, written: unknown): void {
    if (!this.#waits.has(id)) return;
    try {
      const value = readValue(id, written);
      this.#settle(id, (caller) => caller.resolve(value));
    } catch (error) {
      this.#settle(id, (caller) => caller.reject(error as Error));
    }
  }

  #settle(id: string, tell: (caller: Caller) => void): void {
    const wait = this.#waits.get(id);
    if (wait === undefined) return;
    this.#waits.delete(id);
    for (const caller of wait.callers) tell(caller);
  }

  #failAll(error: Error): void {
    for (const id of [...this.#waits.keys()]) this.#settle(id, (caller) => caller.reject(error));
    this.#begun.clear();
    this.#heard.clear();
  }

  /** Ends; those who still wait are told, jobs stay. */
  async close(): Promise<void> {
    await within(Promise.allSettled(this.#withdrawn.values()), closingMs(this.server.presence, WITHDRAW_MS));
    this.#ended.abort();
    this.#failAll(new QueueError(`${this.server.presence.address}: expected to be open while jobs are waited for, got closed`)); // prettier-ignore
    if (this.#events !== undefined) await within(this.#events.close(), closingMs(this.server.presence));
  }
}

/** How BullMQ keeps and repeats a job. Results lie in a storage: completed jobs are kept for those who ask late, failed ones until someone looks. */
export function jobOptions(job: JobRequest, settings: ChannelSettings): JobsOptions & { readonly jobId: string } {
  return {
    jobId: job.id,
    priority: job.priority,
    attempts: settings.attempts,
    backoff: { type: "exponential", delay: settings.retryDelayMs, jitter: 0.5 },
    removeOnComplete: settings.keep,
    removeOnFail: false,
    stackTraceLimit: 0,
  };
}

function take(ids: Set<string>, count: number): readonly string[] {
  const taken: string[] = [];
  for (const id of ids) {
    if (taken.length === count) break;
    taken.push(id);
    ids.delete(id);
  }
  return taken;
}
