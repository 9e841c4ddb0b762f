/** @file Preprocesses images and runs them through a program in batches. */

import { CancelledError, UsageError } from "../errors.js";
import { preprocess } from "../image/preprocess.js";
import type { RgbImage, SourceImage } from "../image/types.js";
import { truncationWarning } from "../prompts/truncation.js";
import type { Tensor } from "../tensor/tensor.js";
import { float32 } from "../tensor/tensor.js";
import type { DescribedTokenizer, Encoding, Tokenizer } from "../tokenizers/types.js";
import { inputName, type RewardNetwork, type TextFeeds } from "./contract.js";

/** Images scored together unless asked otherwise; it changes the speed and the memory, never a score. */
export const DEFAULT_BATCH = 8;

/** Checks a batch size. @throws UsageError unless it is a whole number from 1 */
export function checkBatch(batch: number): void {
  if (!Number.isInteger(batch) || batch < 1)
    throw new UsageError(`batch: expected a whole number from 1, got ${batch}`);
}

/** What images are preprocessed for, and how many at once. */
export interface BatchOptions {
  readonly network: Pick<RewardNetwork, "imageSize" | "preprocessing">;
  readonly batch: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Calls `run` with preprocessed pixels, float32 [n, 3, size, size], n <= batch, and returns what it gave in the order of the images.
 * The next batch is preprocessed here while the device works on one.
 * @throws CancelledError when `signal` aborts
 */
export async function inBatches<T>(
  images: readonly (RgbImage | SourceImage)[],
  { network, batch, signal }: BatchOptions,
  run: (pixels: Tensor<"float32">) => Promise<readonly T[]>,
): Promise<T[]> {
  const { imageSize: size, preprocessing } = network;
  const results: T[] = [];
  let pending: Promise<readonly T[]> | undefined;
  for (let start = 0; start < images.length; start += batch) {
    const part = images.slice(start, start + batch);
    const plane = 3 * size * size;
    const pixels = new Float32Array(part.length * plane);
    part.forEach((image, i) => pixels.set(preprocess(image, size, preprocessing), i * plane));
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

/** Each prompt as the tokenizer reads it; one that repeats is read once. @throws UsageError for a prompt that is no text */
export function encodePrompts(tokenizer: Tokenizer, prompts: readonly string[]): Encoding[] {
  const known = new Map<string, Encoding>();
  return prompts.map((prompt) => {
    if (typeof prompt !== "string") throw new UsageError(`prompt: expected text, got ${typeof prompt}`);
    const encoding = known.get(prompt) ?? tokenizer.encode(prompt);
    known.set(prompt, encoding);
    return encoding;
  });
}

/** Rows of `length` whole numbers as one int64 tensor `[rows, length]`. */
export function stackRows(rows: readonly (readonly number[])[], length: number): Tensor<"int64"> {
  const data = new BigInt64Array(rows.length * length);
  rows.forEach((row, i) => data.set(BigInt64Array.from(row, BigInt), i * length));
  return { dtype: "int64", shape: [rows.length, length], data };
}

/** The warnings for prompts that did not fit, once for each prompt; none when all did. */
export function truncationWarnings(name: string, length: number, encodings: readonly Encoding[]): string[] {
  const what = `${name}: the prompt is longer than the ${length} tokens it reads`;
  return [...new Set(encodings)].flatMap(({ truncated }) =>
    truncated === undefined ? [] : [truncationWarning(what, truncated)],
  );
}

/** `ids` and `mask` of prompts. @throws UsageError for a token that the network does not know */
export function wordPieceFeeds(
  name: string,
  tokenizer: DescribedTokenizer,
  vocabulary: number,
  prefix: string,
  prompts: readonly string[],
): TextFeeds {
  const { maxLength } = tokenizer;
  const encodings = encodePrompts(tokenizer, prompts);
  const unknown = encodings.flatMap(({ ids }) => ids).find((id) => id >= vocabulary);
  if (unknown !== undefined) {
    throw new UsageError(`prompt: expected tokens below ${vocabulary} (the network's vocabulary), got ${unknown}`);
  }
  const rows = (part: "ids" | "mask") => stackRows(encodings.map((one) => [...one[part]]), maxLength); // prettier-ignore
  return {
    feeds: { [inputName(prefix, "ids")]: rows("ids"), [inputName(prefix, "mask")]: rows("mask") },
    warnings: truncationWarnings(name, maxLength, encodings),
  };
}
