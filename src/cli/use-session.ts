/** @file A session for as long as a command works. */

import { unlessAborted } from "../util/abort.js";
import type { CommandContext, ModelSession } from "./context.js";

/** Starts a session, runs `work`, and ends the session whatever happens. @throws CancelledError when the signal aborts before it has started */
export async function useSession<T>(context: CommandContext, work: (session: ModelSession) => Promise<T>): Promise<T> {
  const { signal } = context;
  const session = await unlessAborted(context.openSession(), signal);
  try {
    return await work(session);
  } finally {
    // A cancelled command does not wait for the device: the process ends, and the device with it.
    const closing = session.close();
    if (!signal.aborted) await closing;
    else closing.catch(() => undefined);
  }
}
