/** @file Ending work when a signal aborts. */

import { CancelledError } from "../errors.js";

/** Who waits for a signal, and what stands for them there. */
interface Waiting {
  readonly callbacks: Set<() => void>;
  readonly listener: () => void;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/**
 * Calls `callback` when `signal` aborts, unless the function that is returned was called before. A signal has one listener however many wait for it, and none
 * when nobody does: a listener keeps the signal of `AbortSignal.any` in memory. A signal that has aborted calls nothing.
 */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  if (signal.aborted) return () => undefined;
  const { callbacks, listener } = waiting.get(signal) ?? listen(signal);
  // the same function may be given twice
  const own = (): void => callback();
  callbacks.add(own);
  return () => {
    if (!callbacks.delete(own) || callbacks.size > 0) return;
    signal.removeEventListener("abort", listener);
    waiting.delete(signal);
  };
}

function listen(signal: AbortSignal): Waiting {
  const callbacks = new Set<() => void>();
  const listener = (): void => [...callbacks].forEach((each) => each());
  const started = { callbacks, listener };
  waiting.set(signal, started);
  signal.addEventListener("abort", listener, { once: true });
  return started;
}

/**
 * The promise's outcome, or CancelledError as soon as `signal` aborts, naming `what` was cancelled; what the promise does afterwards is ignored. For work that
 * has no signal of its own, or that may answer it late.
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  what?: string,
): Promise<T> {
  if (signal === undefined) return promise;
  promise.catch(() => undefined);
  const cancelled = (): CancelledError =>
    new CancelledError(what === undefined ? "cancelled" : `${what} was cancelled`);
  let forget: (() => void) | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_, reject) => {
        // what is there already when the signal has aborted is not thrown away
        if (signal.aborted) reject(cancelled());
        else forget = onAbort(signal, () => reject(cancelled()));
      }),
    ]);
  } finally {
    forget?.();
  }
}

/** Waits, but no longer than until `signal` aborts; not at all once it has. Never throws. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted === true) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(end, ms);
    const forget = signal === undefined ? undefined : onAbort(signal, end);
    function end(): void {
      clearTimeout(timer);
      forget?.();
      resolve();
    }
  });
}

/** @throws CancelledError when `signal` has aborted */
export function throwIfAborted(signal: AbortSignal | undefined, what = "generation"): void {
  if (signal?.aborted === true) throw new CancelledError(`${what} was cancelled`, { cause: signal.reason });
}
