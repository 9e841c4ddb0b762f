/** @file From an address to a job queue. */

import { parseQueueAddress } from "./address.js";
import { BullQueue } from "./bullmq-queue.js";
import type { JobQueue } from "./contract.js";

/** What opening a queue takes. */
export interface OpenQueueOptions {
  /** Times a job is begun, unless it failed in a way that would not change. @default 4 */
  readonly attempts?: number | undefined;
  /** Before it is begun a second time; twice as long each further time, and up to half of it less by chance. @default 1000 */
  readonly retryDelayMs?: number | undefined;
  /** `ready()` gives up on a server that has not answered for so long. @default 8000 */
  readonly answerMs?: number | undefined;
}

/**
 * Opens the job queue at `redis://[user:password@]host[:port][/number]`, `rediss://` for TLS, or `postgres://user[:password]@host[:port]/database`. With
 * `?prefix=name` several that know nothing of each other share a server. Nothing is asked of the server yet: `ready()` does that.
 * @throws UsageError for another address, or when a package is not installed
 */
export async function openQueue(address: string, options: OpenQueueOptions = {}): Promise<JobQueue> {
  const parsed = parseQueueAddress(address);
  const server =
    parsed.kind === "redis"
      ? await (await import("./bullmq-redis.js")).openRedis(parsed, options.answerMs ?? 8000)
      : await (await import("./bullmq-postgres.js")).openPostgres(parsed, options.answerMs ?? 8000);
  const { UnrecoverableError, WaitingError } = await import("bullmq");
  return new BullQueue(
    server,
    { UnrecoverableError, WaitingError },
    { attempts: options.attempts ?? 4, retryDelayMs: options.retryDelayMs ?? 1000, keep: server.keep },
  );
}
