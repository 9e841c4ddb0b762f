/** @file A storage that waits out a failure that may pass. */

import { ExponentialBackoff, type IBackoff } from "cockatiel";
import { pause, throwIfAborted } from "../util/abort.js";
import { type ListOptions, type Storage, StorageError, type StorageOptions, type StoredObject } from "./contract.js";

/** How long a storage that fails is waited for. */
export interface PatienceOptions {
  /** Milliseconds from an operation's first failure to its last attempt. @default 300000 */
  readonly patienceMs?: number | undefined;
  /** Longest wait between attempts, milliseconds; the first is about half a second, each further one longer, with jitter. @default 15000 */
  readonly maximumWaitMs?: number | undefined;
  /** Told once when it begins to wait and once when the storage is back. */
  readonly onNotice?: ((message: string) => void) | undefined;
}

/**
 * `storage`, whose operations are tried again while it is unavailable, until the patience is over: then they fail with the last error and how long it was
 * tried. Other faults, and cancellation, are told at once, and so is what a probe finds.
 */
export function patient(storage: Storage, options: PatienceOptions = {}): Storage {
  return new PatientStorage(storage, options);
}

class PatientStorage implements Storage {
  readonly address: string;
  readonly #storage: Storage;
  readonly #patienceMs: number;
  readonly #maximumWaitMs: number;
  readonly #notice: (message: string) => void;
  /** When the storage failed, while any operation waits for it. */
  #failedAt: number | undefined;

  constructor(storage: Storage, { patienceMs = 300_000, maximumWaitMs = 15_000, onNotice }: PatienceOptions) {
    this.address = storage.address;
    this.#storage = storage;
    this.#patienceMs = patienceMs;
    this.#maximumWaitMs = maximumWaitMs;
    this.#notice = onNotice ?? (() => undefined);
  }

  get(key: string, options?: StorageOptions): Promise<Uint8Array | undefined> {
    return this.#insist(options, () => this.#storage.get(key, options));
  }

  has(key: string, options?: StorageOptions): Promise<boolean> {
    return this.#insist(options, () => this.#storage.has(key, options));
  }

  put(key: string, bytes: Uint8Array, options?: StorageOptions): Promise<void> {
    return this.#insist(options, () => this.#storage.put(key, bytes, options));
  }

  delete(key: string, options?: StorageOptions): Promise<void> {
    return this.#insist(options, () => this.#storage.delete(key, options));
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<StoredObject, void> {
    let { after } = options;
    let listing: AsyncGenerator<StoredObject, void> | undefined;
    try {
      for (;;) {
        const next = await this.#insist(options, async () => {
          // one that has failed is over: another goes on where it was
          listing ??= this.#storage.list(prefix, { ...options, after });
          try {
            return await listing.next();
          } catch (error) {
            listing = undefined;
            throw error;
          }
        });
        if (next.done === true) return;
        after = next.value.key;
        yield next.value;
      }
    } finally {
      await listing?.return();
    }
  }

  probe(options?: StorageOptions): Promise<void> {
    return this.#storage.probe(options);
  }

  close(): Promise<void> {
    return this.#storage.close();
  }

  async #insist<T>({ signal }: StorageOptions = {}, attempt: () => Promise<T>): Promise<T> {
    let started: number | undefined;
    let backoff: IBackoff<unknown> | undefined;
    for (;;) {
      try {
        const result = await attempt();
        this.#back();
        return result;
      } catch (error) {
        if (!(error instanceof StorageError) || error.fault !== "unavailable") throw error;
        const now = performance.now();
        const left = (started ??= now) + this.#patienceMs - now;
        if (left <= 0) throw gaveUp(error, now - started);
        this.#failed(error, now);
        backoff =
          backoff?.next(undefined) ??
          new ExponentialBackoff({ initialDelay: 500, maxDelay: this.#maximumWaitMs }).next();
        // the last attempt is made when the patience ends
        await pause(Math.min(backoff.duration, left), signal);
        throwIfAborted(signal, `${this.address}: the request`);
      }
    }
  }

  #failed(error: StorageError, now: number): void {
    if (this.#failedAt !== undefined) return;
    this.#failedAt = now;
    this.#notice(`${error.message}; trying again for ${seconds(this.#patienceMs)}`);
  }

  #back(): void {
    if (this.#failedAt === undefined) return;
    const away = performance.now() - this.#failedAt;
    this.#failedAt = undefined;
    this.#notice(`${this.address}: available again after ${seconds(away)}`);
  }
}

function gaveUp(error: StorageError, tried: number): StorageError {
  return new StorageError(`${error.message}; tried for ${seconds(tried)}`, "unavailable", { cause: error });
}

function seconds(milliseconds: number): string {
  return milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : `${Math.round(milliseconds / 1000)} s`;
}
