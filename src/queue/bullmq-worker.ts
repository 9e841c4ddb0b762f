/** @file Takes jobs from BullMQ: cancelling from other machines, giving jobs back, telling failures. */

import type * as bullmq from "bullmq";
import type { Job, Processor, Worker } from "bullmq";
import { pause } from "../util/abort.js";
import {
  CANCELLED_TEXT,
  isCancelled,
  readWork,
  refusersOf,
  writeFailure,
  writeValue,
  type Written,
} from "./bullmq-codec.js";
import { workerNames } from "./bullmq-jobs.js";
import { type QueueServer, type ServerWorker, within } from "./bullmq-server.js";
import { failureOf, JobError, type JobHandler, type QueueWorker, type WorkOptions } from "./contract.js";
import { isAway, reasonOf } from "./faults.js";
import { patiently } from "./presence.js";

type BullErrors = Pick<typeof bullmq, "UnrecoverableError" | "WaitingError">;

/** Jobs under way are asked this often whether someone cancelled them. */
const ASK_MS = 1000;
/** So long a handler may take to notice that its job is given back. */
const NOTICE_MS = 1000;
/** So long closing waits for a server that does not answer. */
const CLOSE_MS = 5000;

/** Who refused a job takes nothing for so long, longer each time: another should be the first to take it. */
const PASS_MS = [100, 300, 1000] as const;

/** Why a job's signal aborted. */
type Reason = "cancelled" | "stopping" | "taken away";

interface Active {
  readonly queue: string;
  readonly id: string;
  readonly stop: AbortController;
  readonly giveBack: () => void;
}

/** A worker on BullMQ, of several queues. */
export class BullWorker implements QueueWorker {
  readonly #active = new Set<Active>();
  readonly #workers: ServerWorker[] = [];
  readonly #ended = new AbortController();
  readonly #told = new Map<string, number>();
  /** As listings have it. */
  readonly #name: string;
  readonly #deaf: () => void;
  #closing: Promise<void> | undefined;

  constructor(
    readonly server: QueueServer,
    readonly errors: BullErrors,
    readonly handler: JobHandler,
    readonly options: WorkOptions,
  ) {
    this.#name = options.name.replace(/[^\x21-\x7e]/g, "-");
    this.#deaf = server.presence.listen(options.onNotice);
    void this.#ask();
  }

  get active(): number {
    return this.#active.size;
  }

  get connected(): boolean {
    return !this.server.presence.away;
  }

  /** Begins to take jobs of a queue. */
  async take(queue: string): Promise<void> {
    await this.server.remember(queue);
    const { concurrency = 1, lockMs = 30_000, maximumStalls = 3, rate } = this.options;
    const process: Processor = async (job, token) => this.#process(queue, job, token ?? "");
    const opened = this.server.worker(queue, process, {
      name: this.#name,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: Math.max(250, lockMs / 2),
      maxStalledCount: maximumStalls,
      runRetryDelay: 1000,
      ...(rate === undefined ? {} : { limiter: { max: rate.jobs, duration: rate.perMs } }),
    });
    this.#workers.push(opened);
    this.#prepare(queue, opened.worker);
  }

  #prepare(queue: string, worker: Worker): void {
    worker.on("error", (error) => {
      // a lost server is told of once, by its presence; a lost lock by what follows from it
      if (!isAway(error) && !/could not renew lock/.test(error.message)) this.#tell(`${queue}: ${reasonOf(error)}`);
    });
    worker.on("lockRenewalFailed", (ids) => {
      for (const id of ids) void this.#checkLost(queue, id);
    });
    const backend = worker.getBackend();
    const { presence } = this.server;
    const ended = this.#ended.signal;
    // BullMQ asks again at once when it was refused a job, and forgets what it could not write
    const next = backend.moveToActive.bind(backend);
    const done = backend.moveToCompleted.bind(backend);
    const failed = backend.moveToFailed.bind(backend);
    const delayed = backend.moveToDelayed.bind(backend);
    Object.assign(backend, {
      moveToActive: async (...what: Parameters<typeof next>) => {
        try {
          return await patiently(presence, ended, async () => next(...what));
        } catch (error) {
          await pause(1000, ended);
          throw error;
        }
      },
      moveToCompleted: async (...what: Parameters<typeof done>) =>
        patiently(presence, ended, async () => done(...what)),
      moveToFailed: async (...what: Parameters<typeof failed>) =>
        patiently(presence, ended, async () => failed(...what)),
      moveToDelayed: async (...what: Parameters<typeof delayed>) =>
        patiently(presence, ended, async () => delayed(...what)),
    });
  }

  async #process(queue: string, job: Job, token: string): Promise<unknown> {
    const id = job.id ?? "";
    if (isCancelled(job.data)) throw new this.errors.UnrecoverableError(CANCELLED_TEXT);
    if (refusersOf(job.data).includes(this.#name) && (await this.#passOn(queue, job, token))) {
      throw new this.errors.WaitingError();
    }
    const begun = performance.now();
    const stop = new AbortController();
    let giveBack = (): void => undefined;
    const givenBack = new Promise<never>((_, reject) => {
      giveBack = () => reject(new Error("given back"));
    });
    givenBack.catch(() => undefined);
    const active: Active = { queue, id, stop, giveBack };
    this.#active.add(active);
    const tell = (ok: boolean): void =>
      this.options.onJob?.({ id, queue, ok, ms: Math.round(performance.now() - begun) });
    try {
      const data = readWork(id, job.data);
      const taken = { id, queue, data, attempt: job.attemptsMade + 1, signal: stop.signal };
      const value = await Promise.race([this.handler(taken), givenBack]);
      tell(true);
      return writeValue(value);
    } catch (error) {
      const reason = stop.signal.reason as Reason | undefined;
      if (reason === "stopping") {
        await this.server.giveBack(queue, job, token);
        throw new this.errors.WaitingError();
      }
      if (reason === "cancelled") {
        tell(false);
        throw new this.errors.UnrecoverableError(CANCELLED_TEXT);
      }
      if (error instanceof JobError && error.retry === "elsewhere" && (await this.#passOn(queue, job, token))) {
        this.#tell(`${queue}: a job was passed on to other workers: ${reasonOf(error)}`);
        throw new this.errors.WaitingError();
      }
      throw this.#failed(job, error, tell);
    } finally {
      this.#active.delete(active);
    }
  }

  /** Gives a job that this worker cannot do back for others. @returns false where all that are there have refused it */
  async #passOn(queue: string, job: Job, token: string): Promise<boolean> {
    const before = refusersOf(job.data);
    const refused = [...before, this.#name];
    // PostgreSQL cuts long names
    const knows = (name: string): boolean => refused.some((one) => one === name || (name.length > 20 && one.startsWith(name))); // prettier-ignore
    const names = await workerNames(this.server.queue(queue)).catch((): readonly string[] => []);
    if (names.every(knows)) return false;
    if (!before.includes(this.#name)) await job.updateData({ ...(job.data as Written), refused });
    const times = job.attemptsStarted - job.attemptsMade;
    await this.server.giveBack(queue, job, token);
    await pause(PASS_MS[Math.max(0, times - 1)] ?? PASS_MS.at(-1)!, this.#ended.signal);
    return true;
  }

  #failed(job: Job, error: unknown, tell: (ok: boolean) => void): Error {
    const failure = failureOf(error);
    const text = writeFailure(failure);
    const attempt = job.attemptsMade + 1;
    const final = (error instanceof JobError && error.retry === false) || attempt >= (job.opts.attempts ?? 1);
    if (final) tell(false);
    else {
      this.#tell(`job ${job.id ?? ""}: attempt ${attempt} of ${job.opts.attempts ?? 1} failed: ${reasonOf(failure)}`);
    }
    return final ? new this.errors.UnrecoverableError(text) : new Error(text);
  }

  /** The lock of a job could not be renewed: has it another worker by now? One that the server forgot may as well be finished. */
  async #checkLost(queue: string, id: string): Promise<void> {
    const state = await this.server
      .queue(queue)
      .getJobState(id)
      .catch(() => "unknown");
    if (state !== "unknown") this.#stop(queue, id, "taken away");
  }

  #stop(queue: string, id: string, reason: Reason): void {
    for (const active of this.#active) {
      if (active.queue === queue && active.id === id && !active.stop.signal.aborted) active.stop.abort(reason);
    }
  }

  async #ask(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await pause(ASK_MS * (0.8 + 0.4 * Math.random()), this.#ended.signal);
      if (this.server.presence.away) continue;
      const asked = [...this.#active].map(async ({ queue, id }) => {
        const job = (await this.server.queue(queue).getJob(id)) as Job | undefined;
        if (job !== undefined && isCancelled(job.data)) this.#stop(queue, id, "cancelled");
      });
      await within(Promise.allSettled(asked), CLOSE_MS);
    }
  }

  /** The same is told twice a minute at most. */
  #tell(message: string): void {
    const now = Date.now();
    if (now - (this.#told.get(message) ?? -Infinity) < 30_000) return;
    if (this.#told.size > 100) this.#told.clear();
    this.#told.set(message, now);
    this.options.onNotice?.(message);
  }

  async close(graceMs?: number): Promise<void> {
    return (this.#closing ??= this.#close(graceMs));
  }

  async #close(graceMs: number | undefined): Promise<void> {
    const closing = Promise.all(this.#workers.map(async ({ worker }) => worker.close()));
    closing.catch(() => undefined);
    if (graceMs === undefined) await closing.catch(() => undefined);
    else if ((await within(closing, graceMs)) === undefined) await this.#giveBack(closing);
    this.#ended.abort();
    await Promise.all(this.#workers.map(async ({ abandon }) => within(abandon(), NOTICE_MS)));
    this.#deaf();
  }

  async #giveBack(closing: Promise<unknown>): Promise<void> {
    for (const { stop } of this.#active) stop.abort("stopping" satisfies Reason);
    if (this.#active.size > 0 && (await within(closing, NOTICE_MS)) !== undefined) return;
    for (const { giveBack } of this.#active) giveBack();
    // a server that is away is told nothing: the locks run out
    if (this.connected) await within(closing, CLOSE_MS);
  }
}
