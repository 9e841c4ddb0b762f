/** @file A backend and a reward over the workers of a queue: asks them what they have, and whether both sides fit. */

import { randomUUID } from "node:crypto";
import type { z } from "zod";
import { BackendError, CancelledError, UsageError } from "../errors.js";
import type { JobQueue } from "../queue/contract.js";
import type { Storage } from "../storage/contract.js";
import { type DispatchOptions, Dispatcher } from "./dispatch.js";
import {
  describedBackendSchema,
  describedRewardSchema,
  queueOf,
  SCORE_CAPABILITY,
  speaker,
  type TravellingChoice,
} from "./protocol.js";
import { type DescribedBackend, QueueBackend } from "./queue-backend.js";
import { QueueReward } from "./queue-reward.js";

/** Clocks that differ by more are told: waiting times and ages of jobs go by them. */
const MOST_SKEW_MS = 10_000;

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
  const { inFlight = 256 } = options;
  await Promise.all([queue.ready(), storage.probe({ signal: options.signal })]);
  const dispatcher = new Dispatcher(queue, storage, options);
  const [backend, reward] = await Promise.all([
    asked(dispatcher, capability, options, (probe) =>
      dispatcher.run(
        capability,
        { kind: "describe-backend", ...speaker(), probe },
        describedBackendSchema,
        (value) => Promise.resolve(value),
        waiting(options),
      ),
    ),
    asked(dispatcher, SCORE_CAPABILITY, options, (probe) =>
      dispatcher.run(
        SCORE_CAPABILITY,
        { kind: "describe-reward", ...speaker(), probe, choice },
        describedRewardSchema,
        (value) => Promise.resolve(value),
        waiting(options),
      ),
    ),
  ]);
  return {
    backend: new QueueBackend(dispatcher, capability, described(backend), inFlight),
    reward: new QueueReward(dispatcher, choice, reward, inFlight),
  };
}

function waiting({ signal, waitMs = 60_000 }: SubmitterOptions): AbortSignal {
  const timeout = AbortSignal.timeout(waitMs);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

/** Asks a worker through both the queue and the storage: what was put there it has to find, and it puts its answer there. */
async function asked<T extends { readonly now: string; readonly worker: string; readonly laurel: string }>(
  { queue, artefacts: { storage } }: Dispatcher,
  capability: string,
  options: SubmitterOptions,
  ask: (probe: string) => Promise<T>,
): Promise<T> {
  const { signal, waitMs = 60_000, onWarning } = options;
  const probe = `probes/${randomUUID()}`;
  const askedAt = Date.now();
  await storage.put(probe, Buffer.from(new Date().toISOString()), { signal });
  try {
    const answer = await ask(probe);
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
    await Promise.allSettled([storage.delete(probe), storage.delete(`${probe}-seen`)]);
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
