/** @file Drawing a request group by group from a server that can work on several at once. */

import { throwIfAborted } from "../util/abort.js";
import type { GeneratedGroup, GenerateOptions, ImageRequest } from "./contract.js";

/** Consecutive seeds that are drawn together. */
export interface SeedGroup {
  readonly seed: number;
  readonly count: number;
}

/** What drawing one group is given. */
export interface GroupOptions {
  /** Aborts when the group is no longer wanted. */
  readonly signal: AbortSignal;
  readonly onProgress: NonNullable<GenerateOptions["onProgress"]>;
}

/**
 * Draws the groups of `request` with up to `concurrency` of them under way, and yields them in order. Leaving the loop, an abort or a failed group
 * stops the others.
 * @throws CancelledError when `options.signal` aborts; whatever `draw` throws
 */
export async function* drawGroups(
  request: ImageRequest,
  concurrency: number,
  { signal, onProgress }: GenerateOptions,
  draw: (group: SeedGroup, options: GroupOptions) => Promise<GeneratedGroup>,
): AsyncGenerator<GeneratedGroup, void> {
  throwIfAborted(signal);
  const stop = new AbortController();
  const wanted = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const underway: Promise<GeneratedGroup>[] = [];
  let next = 0;
  const start = (): void => {
    const group = { seed: request.seed + next, count: Math.min(request.batch, request.count - next) };
    next += group.count;
    const drawing = draw(group, { signal: wanted, onProgress: onProgress ?? (() => undefined) });
    drawing.catch(() => undefined); // reported when its turn comes
    underway.push(drawing);
  };
  try {
    while (next < request.count || underway.length > 0) {
      while (next < request.count && underway.length < concurrency) start();
      const group = await underway.shift()!.catch((error: unknown) => {
        throwIfAborted(signal);
        throw error;
      });
      throwIfAborted(signal);
      // the next is under way before this one is worked on
      if (next < request.count) start();
      yield group;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(underway);
  }
}
