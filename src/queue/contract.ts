/** @file The JobQueue contract: small pieces of work that any worker of any machine may take, at least once. */

import { BackendError } from "../errors.js";

/** What JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** One piece of work. */
export interface JobRequest {
  /** Hash of all that decides its result: the same id, the same work. Letters, digits, `-` and `_`, at least one letter. */
  readonly id: string;
  /** Name of the queue, which says what a worker must be able to do. Letters, digits, `-`, `_` and `.`. */
  readonly queue: string;
  /** What it takes to do it; small: no pictures. */
  readonly data: { readonly [key: string]: Json };
  /** 0 to 2,097,151; lower is sooner. */
  readonly priority: number;
}

/** Why a job failed in the end, as its worker told. */
export interface JobFailure {
  /** Name of the error's class. */
  readonly name: string;
  readonly message: string;
  /** What `JobError.details` had. */
  readonly details?: { readonly [key: string]: Json } | undefined;
}

/** How a handler says that a job failed. Any other error counts as one that may go away, and the job is tried again. */
export class JobError extends Error {
  override readonly name = "JobError";
  constructor(
    /** What is told of it. */
    readonly failure: JobFailure,
    /**
     * False: the same again would fail again. "elsewhere": it is this worker that cannot do it, so the job is given to those who have not refused it; once all
     * have, that counts as one attempt.
     */
    readonly retry: boolean | "elsewhere",
    options?: ErrorOptions,
  ) {
    super(failure.message, options);
  }
}

/** The failure of a job that was cancelled. */
export const CANCELLED_FAILURE: JobFailure = { name: "CancelledError", message: "cancelled" };

/** What a handler threw, as a failure. */
export function failureOf(error: unknown): JobFailure {
  if (error instanceof JobError) return error.failure;
  if (error instanceof Error) return { name: error.name, message: error.message };
  return { name: "Error", message: String(error) };
}

/** A job failed for good: it stays in the failed set until it is tried again or removed. */
export class JobFailedError extends BackendError {
  constructor(
    readonly jobId: string,
    readonly failure: JobFailure,
  ) {
    super(failure.message);
  }
}

/** The queue server cannot be used: not there, refuses the credentials, read-only, too old. */
export class QueueError extends BackendError {}

/** A job as it stands. */
export interface JobStatus extends JobRequest {
  readonly state: "waiting" | "delayed" | "active" | "completed" | "failed";
  /** Times it was begun and ended with an error. */
  readonly attempts: number;
  /** Times it was taken from a worker that vanished. */
  readonly stalled: number;
  readonly failure: JobFailure | null;
  /** ISO 8601. */
  readonly addedAt: string;
  readonly finishedAt: string | null;
}

/** What a worker is given of a job. */
export interface TakenJob extends Omit<JobRequest, "priority"> {
  /** 1 the first time, one more each time it is begun again after an error. */
  readonly attempt: number;
  /** Aborts when the job is cancelled, wherever that was done, when the worker is told to stop, and when the job was given to another worker. */
  readonly signal: AbortSignal;
}

/** Does a job. What it returns, small JSON, is the job's value. @throws JobError; anything else is tried again */
export type JobHandler = (job: TakenJob) => Promise<Json>;

/** How jobs are worked on. */
export interface WorkOptions {
  /** Names the worker in listings, such as host and process. */
  readonly name: string;
  /** Jobs of one queue at once. @default 1 */
  readonly concurrency?: number | undefined;
  /** A worker that is silent for so long has vanished, and its job goes to another. @default 30,000 */
  readonly lockMs?: number | undefined;
  /** Times a job may be taken from vanished workers before it counts as what makes them vanish. @default 3 */
  readonly maximumStalls?: number | undefined;
  /** Over all workers of a queue: at most so many jobs in so many milliseconds. */
  readonly rate?: { readonly jobs: number; readonly perMs: number } | undefined;
  /** Told of what does not end a job: a connection that was lost and found again. */
  readonly onNotice?: ((message: string) => void) | undefined;
  /** Told of each job that ended here. */
  readonly onJob?:
    | ((job: { readonly id: string; readonly queue: string; readonly ok: boolean; readonly ms: number }) => void)
    | undefined;
}

/** A worker at work. */
export interface QueueWorker {
  /** Jobs under way. */
  readonly active: number;
  /** Whether the queue server answered lately; false while the connection is lost. */
  readonly connected: boolean;
  /** Takes no more jobs and waits for those under way; after `graceMs` they are given back for others. */
  close(graceMs?: number): Promise<void>;
}

/** How jobs are submitted. */
export interface SubmitOptions {
  /** Cancels the job, unless it is done. */
  readonly signal?: AbortSignal | undefined;
  /** Told when the queue server is lost and found again. */
  readonly onNotice?: ((message: string) => void) | undefined;
}

/** A queue server, as submitters, workers and administrators see it. Everything throws QueueError when the server cannot be used. */
export interface JobQueue {
  /** Its address as it may be shown: without secrets. */
  readonly address: string;
  /** Connects. @throws QueueError: unreachable, wrong credentials, read-only, too old, not a queue server (HTML); told within 10 seconds */
  ready(): Promise<void>;
  /**
   * Has a job done and returns its value. A job that is there already is not added again: one that is waiting or under way is waited for, one that is done gives
   * its value, one that failed before is tried again. Outlives restarts of the queue server, also one that forgot everything.
   * @throws JobFailedError when it failed for good; CancelledError when the signal aborted: the job is cancelled, unless another submitter waits for it too
   */
  run(job: JobRequest, options?: SubmitOptions): Promise<Json>;
  /** Takes jobs of `queues` until it is closed. */
  work(queues: readonly string[], handler: JobHandler, options: WorkOptions): Promise<QueueWorker>;
  /** The queues that were ever used, in order. */
  queues(): Promise<readonly string[]>;
  /** Jobs by state, of all queues or one. */
  counts(queue?: string): Promise<Readonly<Record<JobStatus["state"], number>>>;
  /** Jobs, the newest first, at most `limit`. */
  list(
    filter: { readonly queue?: string; readonly states?: readonly JobStatus["state"][] },
    limit: number,
  ): Promise<readonly JobStatus[]>;
  /** One job, wherever it is; undefined where there is none. */
  find(id: string): Promise<JobStatus | undefined>;
  /** Names of the workers of a queue that are connected. */
  workers(queue: string): Promise<readonly string[]>;
  /** Has a failed job tried again. @returns false where it had not failed */
  retry(id: string): Promise<boolean>;
  /** Removes a job that waits, or has its worker stop. @returns false where it was done already */
  cancel(id: string): Promise<boolean>;
  /** Forgets a job that ended. @returns false where there was none */
  remove(id: string): Promise<boolean>;
  /** Ends connections; jobs stay. */
  close(): Promise<void>;
}
