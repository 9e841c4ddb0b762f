/** @file Work that ends in time or when it is cancelled. */

import { CancelledError } from "../errors.js";
import { onAbort, throwIfAborted, unlessAborted } from "../util/abort.js";

/** What bounds a piece of work. */
export interface Bounds {
  /** Milliseconds it may take. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Names the storage in the error of a cancellation. */
  readonly address: string;
  /** The error when the time is over. */
  readonly late: (seconds: number) => Error;
}

/**
 * The outcome of `work`, which is told by a signal of its own when to stop. Work that does not listen is left alone once the time is over.
 * @throws CancelledError when the caller's signal aborts, `bounds.late` when the time is over
 */
export async function within<T>(bounds: Bounds, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { timeoutMs, signal, address, late } = bounds;
  throwIfAborted(signal, `${address}: the request`);
  const own = new AbortController();
  const stop = (): void => own.abort();
  const timer = setTimeout(stop, timeoutMs);
  const forget = signal === undefined ? undefined : onAbort(signal, stop);
  try {
    return await unlessAborted(work(own.signal), own.signal);
  } catch (error) {
    if (signal?.aborted === true) throw new CancelledError(`${address}: the request was cancelled`, { cause: error });
    throw own.signal.aborted ? late(timeoutMs / 1000) : error;
  } finally {
    clearTimeout(timer);
    forget?.();
  }
}
