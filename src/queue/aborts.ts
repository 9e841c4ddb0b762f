/** @file Many who wait for one signal: it gets one listener, however many they are. */

import { CancelledError } from "../errors.js";

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `callback` when `signal` aborts, unless the function that is returned was called before. A signal that has aborted calls nothing. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    const all = new Set<() => void>();
    callbacks = all;
    waiting.set(signal, all);
    signal.addEventListener("abort", () => [...all].forEach((each) => each()), { once: true });
  }
  const own = callbacks;
  // the same function may be given twice
  const call = (): void => callback();
  own.add(call);
  return () => own.delete(call);
}

/** The promise's outcome, or CancelledError as soon as `signal` aborts. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, what: string): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) throw new CancelledError(`${what} was cancelled`);
  promise.catch(() => undefined);
  let forget = (): void => undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        forget = onAbort(signal, () => reject(new CancelledError(`${what} was cancelled`)));
      }),
    ]);
  } finally {
    forget();
  }
}
