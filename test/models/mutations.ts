/** @file Proof that a parity test can fail: the same comparison with one thing changed. */

import { expect } from "vitest";
import type { Tensor } from "#laurel/tensor/tensor";
import { tensor } from "#laurel/tensor/tensor";
import type { Golden } from "./harness.js";

/** The bound that every network is held to. */
export const PARITY = 1e-4;

/** The weight `key` with its numbers rotated by one: another tensor with the same spread. */
export async function changed(golden: Golden, key: string): Promise<ReadonlyMap<string, Tensor>> {
  const original = await golden.source.read(key);
  const data = original.data.slice() as Float32Array;
  data.set(data.slice(1), 0);
  data[data.length - 1] = original.data[0] as number;
  return new Map([[key, tensor("float32", original.shape, data)]]);
}

/** The error with something changed is far outside the bound. */
export async function expectDetected(what: string, error: () => Promise<number>): Promise<void> {
  expect(await error(), `changed: ${what}`).toBeGreaterThan(20 * PARITY);
}
