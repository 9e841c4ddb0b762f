/** @file The Storage contract: objects by key, which several machines see. */

import { BackendError } from "../errors.js";

/**
 * What went wrong with a storage: `unavailable` may be over in a moment (no connection, 5xx, a full disk), `denied` takes a person (credentials, a read-only
 * folder, a clock that is off), `invalid` is an answer that no storage gives (HTML, a bucket that is not there).
 */
export type StorageFault = "unavailable" | "denied" | "invalid";

/** A storage cannot be used. */
export class StorageError extends BackendError {
  constructor(
    message: string,
    readonly fault: StorageFault,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What a caller may pass to every operation. */
export interface StorageOptions {
  readonly signal?: AbortSignal | undefined;
}

/** What a listing takes. */
export interface ListOptions extends StorageOptions {
  /** Only keys that come after this one: where a listing that broke off goes on. */
  readonly after?: string | undefined;
}

/** One object of a listing. */
export interface StoredObject {
  readonly key: string;
  /** Its size. */
  readonly bytes: number;
}

/**
 * Objects by key. A key is words of letters, digits, `.`, `_` and `-` with `/` between them, at most 512 characters; a word has at most 200 and does not begin
 * with a dot (such names are the storage's own). What else lies there is not listed. Whoever reads an object sees all of it or none: one that is being
 * written, or was left half-written, is not there. An object has at most 256 MiB.
 */
export interface Storage {
  /** Its address as it may be shown: without secrets. */
  readonly address: string;
  /** @returns undefined where there is none @throws StorageError; CancelledError when the signal aborts; UsageError for no key */
  get(key: string, options?: StorageOptions): Promise<Uint8Array | undefined>;
  /** Whether there is an object. Throws as `get` does. */
  has(key: string, options?: StorageOptions): Promise<boolean>;
  /** Writes an object, in place of one that is there. Throws as `get` does. */
  put(key: string, bytes: Uint8Array, options?: StorageOptions): Promise<void>;
  /** Removes an object; one that is not there is no error. Throws as `get` does. */
  delete(key: string, options?: StorageOptions): Promise<void>;
  /** The objects whose keys begin with `prefix`, in order of keys. Throws as `get` does. */
  list(prefix: string, options?: ListOptions): AsyncGenerator<StoredObject, void>;
  /** Writes, reads and removes an object of its own, to tell now whether it can be used. Throws as `get` does. */
  probe(options?: StorageOptions): Promise<void>;
  /** Ends connections. */
  close(): Promise<void>;
}
