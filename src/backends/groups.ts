/** @file Drawing a request group by group from a server that can work on several at once. */

import { throwIfAborted } from "../util/abort.js";
import type { GeneratedGroup, GenerateOptions, ImageRequest } from "./contract.js";

/** Consecutive seeds that are drawn together. */
export interface SeedGroup {
  readonly seed: number;
  readonly count: number;
}

/** Groups that may wait to be taken or be under way, for each place in `concurrency`, and the most that may wait for one that is slow. */
const WINDOW = 4;
const MOST_WAITING = 64;

/** What drawing one group is given. */
export interface GroupOptions {
  /** Aborts when the group is no longer wanted. */
  readonly signal: AbortSignal;
  readonly onProgress: NonNullable<GenerateOptions["onProgress"]>;
}

/**
 * Draws the groups of `request` with up to `concurrency` of them under way, and yields them in order; a slow one holds the others up only once several
 * wait behind it. After a failed group none is begun, those under way are still yielded, since they may have cost money, and then it throws. Leaving the
 * loop or an abort stops all.
 * @throws CancelledError when `options.signal` aborts; whatever `draw` throws
 */
export async function* drawGroups(
  request: ImageRequest,
  concurrency: number,
  { signal, onProgress = () => undefined }: GenerateOptions,
  draw: (group: SeedGroup, options: GroupOptions) => Promise<GeneratedGroup>,
): AsyncGenerator<GeneratedGroup, void> {
  throwIfAborted(signal);
  const stop = new AbortController();
  const wanted = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const ordered: Promise<GeneratedGroup>[] = [];
  const window = concurrency === 1 ? 1 : Math.min(WINDOW * concurrency, concurrency + MOST_WAITING);
  let underway = 0;
  let next = 0;
  let failed = false;
  const fill = (): void => {
    while (next < request.count && underway < concurrency && ordered.length < window && !failed && !wanted.aborted) {
      const group = { seed: request.seed + next, count: Math.min(request.batch, request.count - next) };
      next += group.count;
      underway++;
      const drawing = draw(group, { signal: wanted, onProgress });
      ordered.push(drawing);
      void drawing.then(
        () => ended(true),
        () => ended(false), // reported when its turn comes
      );
    }
  };
  const ended = (well: boolean): void => {
    failed ||= !well;
    underway--;
    fill();
  };
  let failure: { readonly error: unknown } | undefined;
  try {
    fill();
    for (let drawing = ordered.shift(); drawing !== undefined; drawing = ordered.shift()) {
      // the next is under way before this one is worked on
      fill();
      const outcome = await settled(drawing);
      throwIfAborted(signal);
      if ("group" in outcome) yield outcome.group;
      else failure ??= outcome;
      fill();
    }
    if (failure !== undefined) throw failure.error;
  } finally {
    stop.abort();
    await Promise.allSettled(ordered);
  }
}

async function settled(
  drawing: Promise<GeneratedGroup>,
): Promise<{ readonly group: GeneratedGroup } | { readonly error: unknown }> {
  try {
    return { group: await drawing };
  } catch (error) {
    return { error };
  }
}
