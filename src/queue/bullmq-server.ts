/** @file What BullMQ needs of a server, whichever it is: Redis or PostgreSQL. */

import type { Job, KeepJobs, Processor, Queue, QueueEvents, Worker, WorkerOptions } from "bullmq";
import type { Presence } from "./presence.js";

/** A worker's options that are not the server's. */
export type OwnWorkerOptions = Omit<WorkerOptions, "connection" | "prefix" | "skipVersionCheck">;

/** A connected BullMQ worker and what ends it at once. */
export interface ServerWorker {
  readonly worker: Worker;
  /** Ends its connections, whatever it does at the moment. */
  abandon(): Promise<void>;
}

/** How a job ended, if it did. */
export type JobEnd =
  | { readonly state: "completed"; readonly written: unknown }
  | { readonly state: "failed"; readonly reason: string }
  | { readonly state: "missing" | "under way" };

/** A server, as BullMQ uses it. */
export interface QueueServer {
  readonly presence: Presence;
  /** Aborts when {@link close} is called. */
  readonly ended: AbortSignal;
  /** Which completed jobs are kept, for those who ask late: the results lie in a storage. */
  readonly keep: KeepJobs;
  /** Connects anew and looks whether it can be used. @returns what should be told though it works @throws QueueError */
  probe(): Promise<readonly string[]>;
  /** Events get lost: a job of which nothing is heard is asked for after so long. */
  readonly silenceMs: number;
  /** How jobs of a queue ended, in the order of `ids`. */
  ends(name: string, ids: readonly string[]): Promise<readonly JobEnd[]>;
  /** One for each name; all share a connection. */
  queue(name: string): Queue;
  /** Tells what happens after the event `after`. It is not running yet. */
  events(name: string, after: string): QueueEvents;
  /** The last event of a queue: the place to read on from. */
  lastEvent(name: string): Promise<string>;
  worker(name: string, processor: Processor, options: OwnWorkerOptions): ServerWorker;
  /** Gives a job under way back to those who wait for one. */
  giveBack(name: string, job: Job, token: string): Promise<void>;
  /** Writes down that there is a queue of this name. */
  remember(name: string): Promise<void>;
  /** Names of the queues that were ever used. */
  names(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Longest that a connection takes to come about, when a server is waited for. */
export const CONNECT_MS = 8000;

/** A server that owes an answer for so long is taken for lost. */
export const SILENT_MS = 30_000;

/** Closing a connection waits so long for the server. */
export const CLOSE_MS = 1000;
const AWAY_CLOSE_MS = 100;

/** How long closing something waits for the server: `ms`, or hardly at all when it is known to be away. */
export function closingMs({ away }: Presence, ms = CLOSE_MS): number {
  return away ? AWAY_CLOSE_MS : ms;
}

/** The promise's outcome, or undefined after `ms`. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  promise.catch(() => undefined);
  try {
    return await Promise.race([
      promise,
      new Promise<undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
