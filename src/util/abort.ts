/** @file Ending work when a signal aborts. */

import { CancelledError } from "../errors.js";

/**
 * The promise's outcome, or CancelledError as soon as `signal` aborts; what the promise does afterwards is ignored. For work that has no
 * signal of its own, or that may answer it late.
 */
export async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  promise.catch(() => undefined);
  let stop: (() => void) | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        stop = () => reject(new CancelledError("cancelled"));
        if (signal.aborted) stop();
        else signal.addEventListener("abort", stop, { once: true });
      }),
    ]);
  } finally {
    if (stop !== undefined) signal.removeEventListener("abort", stop);
  }
}

/** @throws CancelledError when `signal` has aborted */
export function throwIfAborted(signal: AbortSignal | undefined, what = "generation"): void {
  if (signal?.aborted === true) throw new CancelledError(`${what} was cancelled`, { cause: signal.reason });
}
