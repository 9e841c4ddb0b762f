/** @file Whether a queue server is there, and waiting until it is again. */

import { pause } from "../util/abort.js";
import { isAway, isConflict, reasonOf } from "./faults.js";

/** Attempts that others may cross. */
const MOST_CONFLICTS = 20;

/** Told of what does not end work. */
export type OnNotice = (message: string) => void;

/** What is known of a server's presence: one for all connections to it, so that a restart is told once. */
export class Presence {
  readonly #listeners = new Map<symbol, OnNotice>();
  readonly #found = new Set<() => void>();
  #awaySince: number | undefined;

  constructor(readonly address: string) {}

  /** Whether the last that was heard of it is that it does not answer. */
  get away(): boolean {
    return this.#awaySince !== undefined;
  }

  /** Told from now on, until the function that is returned is called. */
  listen(onNotice: OnNotice | undefined): () => void {
    const key = Symbol();
    if (onNotice !== undefined) this.#listeners.set(key, onNotice);
    return () => this.#listeners.delete(key);
  }

  /** Called each time it is found again. */
  onFound(callback: () => void): void {
    this.#found.add(callback);
  }

  lost(reason: string): void {
    if (this.#awaySince !== undefined) return;
    this.#awaySince = Date.now();
    this.notify(`${this.address}: lost (${reason}); waiting until it is back`);
  }

  found(): void {
    if (this.#awaySince === undefined) return;
    const seconds = Math.round((Date.now() - this.#awaySince) / 1000);
    this.#awaySince = undefined;
    this.notify(`${this.address}: found again after ${seconds} s`);
    for (const callback of this.#found) callback();
  }

  notify(message: string): void {
    // one function that many submitters gave hears of it once
    for (const listener of new Set(this.#listeners.values())) listener(message);
  }
}

/**
 * Does something on the server; while the server is away, waits and does it again, for as long as it takes. What crossed another's work is done again, too.
 * @throws what `operation` threw, when it is no fault of the connection, or `ended` aborted
 */
export async function patiently<T>(presence: Presence, ended: AbortSignal, operation: () => Promise<T>): Promise<T> {
  let conflicts = 0;
  for (let attempt = 0; ; attempt++) {
    try {
      const result = await operation();
      presence.found();
      return result;
    } catch (error) {
      if (ended.aborted) throw error;
      if (isAway(error)) presence.lost(reasonOf(error));
      else if (!isConflict(error) || ++conflicts > MOST_CONFLICTS) throw error;
    }
    await pause(backoffMs(attempt), ended);
  }
}

/** 0.1 to 3 seconds, apart from those of others. */
export function backoffMs(attempt: number): number {
  return Math.min(3000, 100 * 2 ** Math.min(attempt, 5)) * (0.7 + 0.3 * Math.random());
}
