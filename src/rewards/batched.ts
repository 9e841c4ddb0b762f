/** @file Preprocesses images and runs them through a program in batches. */

import { CancelledError, UsageError } from "../errors.js";
import { preprocessClip } from "../image/preprocess.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import { truncationWarning } from "../prompts/truncation.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32 } from "../tensor/tensor.js";

/** Images scored together unless asked otherwise; it changes the speed and the memory, never a score. */
export const DEFAULT_BATCH = 8;

/** Checks a batch size. @throws UsageError unless it is a whole number from 1 */
export function checkBatch(batch: number): void {
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError(`batch: expected a whole number from 1, got ${batch}`);
}

/**
 * Calls `run` with preprocessed pixels, float32 [n, 3, size, size], n <= batch, and returns what it gave in the order of the images.
 * The next batch is preprocessed here while the device works on one.
 * @throws CancelledError when `signal` aborts
 */
export async function inBatches<T>(
  images: readonly (RgbImage | SourceImage)[],
  options: { readonly size: number; readonly batch: number; readonly signal: AbortSignal | undefined },
  run: (pixels: Tensor<"float32">) => Promise<readonly T[]>,
): Promise<T[]> {
  const { size, batch, signal } = options;
  const results: T[] = [];
  let pending: Promise<readonly T[]> | undefined;
  for (let start = 0; start < images.length; start += batch) {
    const part = images.slice(start, start + batch);
    const plane = 3 * size * size;
    const pixels = new Float32Array(part.length * plane);
    part.forEach((image, i) => pixels.set(preprocessClip(image, size), i * plane));
    if (pending !== undefined) results.push(...(await pending));
    if (signal?.aborted === true) throw new CancelledError("scoring was cancelled", { cause: signal.reason });
    pending = run(float32([part.length, 3, size, size], pixels));
    pending.catch(() => undefined); // reported where it is awaited
    // let the request leave for the device before the next batch keeps this thread busy
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (pending !== undefined) results.push(...(await pending));
  return results;
}

/** `row` repeated `count` times. */
export function repeatRow(row: readonly number[], count: number): Tensor<"int64"> {
  const data = new BigInt64Array(count * row.length);
  const one = BigInt64Array.from(row, BigInt);
  for (let i = 0; i < count; i++) data.set(one, i * row.length);
  return { dtype: "int64", shape: [count, row.length], data };
}

/** The warning for a prompt that did not fit; none when it did. */
export function truncationWarnings(name: string, length: number, truncated: string | undefined): string[] {
  if (truncated === undefined) return [];
  return [truncationWarning(`${name}: the prompt is longer than the ${length} tokens it reads`, truncated)];
}
