/** @file A backend and a reward over the workers of a queue: asks them what they have, and whether both sides fit. */

import { randomUUID } from "node:crypto";
import type { z } from "zod";
import { BackendError, CancelledError, UsageError } from "../errors.js";
import type { JobQueue } from "../queue/contract.js";
import type { Storage } from "../storage/contract.js";
import { unlessAborted } from "../util/abort.js";
import { type DispatchOptions, Dispatcher } from "./dispatch.js";
import {
  describedBackendSchema,
  describedRewardSchema,
  jobId,
  queueOf,
  SCORE_CAPABILITY,
  speaker,
  type TravellingChoice,
} from "./protocol.js";
import { type DescribedBackend, QueueBackend } from "./queue-backend.js";
import { QueueReward } from "./queue-reward.js";

/** Clocks that differ by more are told: waiting times and ages of jobs go by them. */
const MOST_SKEW_MS = 10_000;
/** So long a question's traces are removed. */
const TIDY_MS = 3000;

/** How work is given to workers. */
export interface SubmitterOptions extends DispatchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Jobs of this process in the queue at once. @default 256 */
  readonly inFlight?: number | undefined;
  /** How long to wait for a worker to answer at the beginning. @default 60,000 */
  readonly waitMs?: number | undefined;
  /** Told of clocks that differ. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** What {@link openWorkers} gives. */
export interface QueuedModels {
  readonly backend: QueueBackend;
  readonly reward: QueueReward;
}

/**
 * Opens what workers draw and score with, as a backend and a reward of this process.
 * @param capability what a worker must be able to do to draw, such as `local:sd-1.5`
 * @param choice what scores
 * @throws BackendError when no worker answers, or one with another version; UsageError when a worker sees another storage; ModelError when it lacks the model;
 * CancelledError when the signal aborts; QueueError, StorageError
 */
export async function openWorkers(
  queue: JobQueue,
  storage: Storage,
  capability: string,
  choice: TravellingChoice,
  options: SubmitterOptions = {},
): Promise<QueuedModels> {
  const { inFlight = 256, signal } = options;
  await Promise.all([queue.ready(), storage.probe({ signal })]);
  const dispatcher = new Dispatcher(queue, storage, options);
  // when one of them fails, the other need not be waited for
  const stop = new AbortController();
  const stopped = { ...options, signal: signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]) };
  const asking = [
    asked(dispatcher, capability, { kind: "describe-backend" }, describedBackendSchema, stopped),
    asked(dispatcher, SCORE_CAPABILITY, { kind: "describe-reward", choice }, describedRewardSchema, stopped),
  ] as const;
  try {
    const [backend, reward] = await Promise.all(asking);
    return {
      backend: new QueueBackend(dispatcher, capability, described(backend), inFlight),
      reward: new QueueReward(dispatcher, choice, reward, inFlight),
    };
  } finally {
    stop.abort();
    await Promise.allSettled(asking);
  }
}

/** Asks a worker through both the queue and the storage: what was put there it has to find, and it puts its answer there. */
async function asked<T extends { readonly now: string; readonly worker: string; readonly laurel: string }>(
  dispatcher: Dispatcher,
  capability: string,
  question:
    { readonly kind: "describe-backend" } | { readonly kind: "describe-reward"; readonly choice: TravellingChoice },
  schema: z.ZodType<T>,
  { signal, waitMs = 60_000, onWarning }: SubmitterOptions,
): Promise<T> {
  const { queue, artefacts } = dispatcher;
  const { storage } = artefacts;
  const probe = `probes/${randomUUID()}`;
  const job = { ...question, ...speaker(), probe };
  const askedAt = Date.now();
  const tidied = new AbortController();
  // not cancelled while it is on its way: it could arrive after it was removed
  const putting = storage.put(probe, Buffer.from(new Date().toISOString()), { signal: tidied.signal });
  try {
    await unlessAborted(putting, signal);
    const timeout = AbortSignal.timeout(waitMs);
    const waiting = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    const answer = await dispatcher.run(capability, job, schema, (value) => Promise.resolve(value), waiting);
    const answeredAt = Date.now();
    if (!(await storage.has(`${probe}-seen`, { signal }))) {
      throw new UsageError(
        `${storage.address}: expected the storage that ${answer.worker} works with, got one in which its answer is not`,
      );
    }
    const told = Date.parse(answer.now);
    if (told < askedAt - MOST_SKEW_MS || told > answeredAt + MOST_SKEW_MS) {
      onWarning?.(
        `${answer.worker}: expected a clock like the one here, ${new Date(answeredAt).toISOString()}, got ${answer.now}; waiting times and ages of jobs are wrong`,
      );
    }
    return answer;
  } catch (error) {
    if (!(error instanceof CancelledError) || signal?.aborted === true) throw error;
    const workers = await queue.workers(queueOf(capability)).catch((): readonly string[] => []);
    const got = workers.length === 0 ? "none is there" : `no answer from ${workers.join(", ")}`;
    throw new BackendError(
      `${queue.address}: expected a worker for ${capability} within ${Math.round(waitMs / 100) / 10} s, ${got}; start one with: laurel worker --capabilities ${capability}`,
      { cause: error },
    );
  } finally {
    // nobody asks the same again; what is away keeps nobody
    const soon = { signal: AbortSignal.timeout(TIDY_MS) };
    await unlessAborted(putting, soon.signal).catch(() => undefined);
    tidied.abort();
    const tidying = [
      unlessAborted(queue.remove(jobId(job)), soon.signal),
      ...[probe, `${probe}-seen`].map((key) => storage.delete(key, soon)),
    ];
    await Promise.allSettled(tidying);
  }
}

/** What a worker said, with what JSON has no word for: undefined. */
function described({ capabilities, defaults, ...rest }: z.infer<typeof describedBackendSchema>): DescribedBackend {
  const { steps, guidance, sampler, width, height, batch } = defaults;
  return {
    ...rest,
    capabilities: { ...capabilities, size: capabilities.size },
    defaults: { steps, guidance, sampler, width, height, batch },
  };
}
