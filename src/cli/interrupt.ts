/** @file Ctrl-C: the first asks the work to stop, the second ends the process at once. */

import { EXIT } from "../errors.js";

/** A signal that was received, and the exit code that says so. */
export interface Interruption {
  /** Aborts at the first SIGINT, SIGTERM or SIGHUP. */
  readonly signal: AbortSignal;
  /** 128 + the number of the signal received; undefined before. */
  exitCode(): number | undefined;
  /** Takes the handlers off again. */
  stop(): void;
}

const SIGNALS = { SIGINT: EXIT.interrupted, SIGTERM: 143, SIGHUP: 129 } as const;

/** Listens for signals until `stop`. */
export function listenForInterruption(): Interruption {
  const controller = new AbortController();
  let exitCode: number | undefined;
  const receive = (name: keyof typeof SIGNALS) => (): void => {
    if (exitCode !== undefined) process.exit(SIGNALS[name]);
    exitCode = SIGNALS[name];
    controller.abort();
  };
  const handlers = Object.entries(SIGNALS).map(([name]) => {
    const handler = receive(name as keyof typeof SIGNALS);
    process.on(name as keyof typeof SIGNALS, handler);
    return () => process.off(name as keyof typeof SIGNALS, handler);
  });
  return {
    signal: controller.signal,
    exitCode: () => exitCode,
    stop: () => {
      for (const remove of handlers) remove();
    },
  };
}
