/** @file Reads test/fixtures/autodiff/rules.json: inputs, outputs and float64 gradients made by test/reference/autodiff.py. */

import { readFileSync } from "node:fs";
import type { Tensor } from "#laurel/tensor/tensor";

interface Encoded {
  readonly shape: number[];
  readonly float32?: string;
  readonly int64?: number[];
}

interface Output {
  readonly value: Encoded;
  readonly upstream: Encoded;
}

/** One case of the fixture. */
export interface GoldenCase {
  readonly name: string;
  readonly op: string;
  readonly batched: readonly string[];
  readonly inputs: Readonly<Record<string, Encoded>>;
  readonly outputs: readonly (Output | null)[];
  readonly gradients: Readonly<Record<string, Encoded>>;
}

/** All cases, in the order of the script. */
export function goldenCases(): GoldenCase[] {
  const file = new URL("../fixtures/autodiff/rules.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { cases: GoldenCase[] }).cases;
}

/** The tensor an entry holds. */
export function decode({ shape, float32, int64 }: Encoded): Tensor {
  if (int64 !== undefined) return { dtype: "int64", shape, data: BigInt64Array.from(int64, BigInt) };
  const bytes = Uint8Array.from(Buffer.from(float32 ?? "", "base64"));
  return { dtype: "float32", shape, data: new Float32Array(bytes.buffer) };
}

/** max |a - b| / max |b| over all elements; the largest |a| where b is all zero. */
export function relativeDifference(actual: Tensor, expected: Tensor): number {
  if (actual.data.length !== expected.data.length) return Number.POSITIVE_INFINITY;
  let [difference, scale] = [0, 0];
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [Number(actual.data[i]), Number(expected.data[i])];
    if (Number.isNaN(a)) return Number.NaN;
    difference = Math.max(difference, Math.abs(a - b));
    scale = Math.max(scale, Math.abs(b));
  }
  return scale === 0 ? difference : difference / scale;
}
