/** @file Requests that begin something at a server: their answer is needed even when nobody wants the outcome any more. */

/** Milliseconds that a cancellation waits for an answer. */
const GRACE_MS = 2000;

/**
 * Sends with a signal that aborts a while after `signal` does: what an answer names can then still be cancelled.
 * @throws what `send` throws
 */
export async function answered<T>(send: (late: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const soon = (): void => void (timer = setTimeout(() => late.abort(), GRACE_MS));
  if (signal.aborted) soon();
  signal.addEventListener("abort", soon, { once: true });
  try {
    return await send(late.signal);
  } finally {
    signal.removeEventListener("abort", soon);
    clearTimeout(timer);
  }
}
