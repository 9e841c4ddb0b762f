/** @file Has jobs done: what is in the storage already is taken, everything else goes to the queue. */

import type { z } from "zod";
import { BackendError, CancelledError, ModelError, UsageError } from "../errors.js";
import type { RgbImage } from "../image/types.js";
import { type Json, JobFailedError, type JobFailure, type JobQueue } from "../queue/contract.js";
import type { Storage } from "../storage/contract.js";
import { throwIfAborted } from "../util/abort.js";
import { Artefacts } from "./artefacts.js";
import { type Job, jobId, LOST_PICTURE, queueOf } from "./protocol.js";

/** Times that a job's pictures, given or made, are missing before that counts as a fault. */
const MOST_LOSSES = 3;

/** How jobs are given away. */
export interface DispatchOptions {
  /** 0 to 2,097,151; lower is sooner. @default 1000 */
  readonly priority?: number | undefined;
  /** Told when queue server or storage are lost and found again. */
  readonly onNotice?: ((message: string) => void) | undefined;
}

/** The queue and the storage as a submitter uses them. */
export class Dispatcher {
  readonly artefacts: Artefacts;

  constructor(
    readonly queue: JobQueue,
    storage: Storage,
    readonly options: DispatchOptions = {},
  ) {
    this.artefacts = new Artefacts(storage);
  }

  /**
   * A job's value, and what `use` makes of it, usually by reading its pictures. Where that is undefined they are lost, and the job is done again.
   * @param capability what a worker must be able to do
   * @param given the pictures that the job names: where one of them is lost, all are stored again
   * @throws ModelError when no worker has the model; UsageError when they refuse the request; JobFailedError when the job failed for another reason;
   * CancelledError when the signal aborts; QueueError, StorageError
   */
  async run<T, R>(
    capability: string,
    job: Job,
    schema: z.ZodType<T>,
    use: (value: T) => Promise<R | undefined>,
    signal?: AbortSignal,
    given: readonly RgbImage[] = [],
  ): Promise<R> {
    const id = jobId(job);
    const queue = queueOf(capability);
    for (let losses = 0; losses < MOST_LOSSES; losses++) {
      throwIfAborted(signal, "the job");
      const known = await this.artefacts.value(id, schema, { signal });
      try {
        const used = await use(known ?? (await this.#queued(id, queue, job, schema, signal)));
        if (used !== undefined) return used;
        await this.artefacts.forget(id, { signal });
      } catch (error) {
        if (!(error instanceof JobFailedError && error.failure.name === LOST_PICTURE)) throw error;
        await Promise.all(given.map((image) => this.artefacts.restorePicture(image, { signal })));
      }
      await this.queue.remove(id);
    }
    const where = this.artefacts.storage.address;
    throw new BackendError(`${where}: expected the pictures of job ${id}, got none or other ones ${MOST_LOSSES} times`);
  }

  async #queued<T>(
    id: string,
    queue: string,
    job: Job,
    schema: z.ZodType<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const { onNotice } = this.options;
    // a question does not wait behind the work of others
    const priority = "probe" in job ? 0 : (this.options.priority ?? 1000);
    let value: Json;
    try {
      value = await this.queue.run({ id, queue, data: job as { [key: string]: Json }, priority }, { signal, onNotice });
    } catch (error) {
      throw error instanceof JobFailedError ? errorOf(error) : error;
    }
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    throw new BackendError(`job ${id}: expected a value of ${job.kind}, got ${JSON.stringify(value).slice(0, 200)}`);
  }
}

/** The error that a worker met, as far as submitters react to it. */
function errorOf(error: JobFailedError): Error {
  const { name, message }: JobFailure = error.failure;
  const options = { cause: error };
  switch (name) {
    case "UsageError":
      return new UsageError(message, options);
    case "ModelError":
      return new ModelError(message, options);
    case "CancelledError":
      return new CancelledError(message, options);
    case "VersionError":
      return new BackendError(message, options);
    default:
      return error;
  }
}
