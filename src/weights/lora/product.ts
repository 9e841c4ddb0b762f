/** @file The update of a layer as numbers: the product of its two matrices, and how large it is. */

import { realValues } from "../../tensor/real.js";
import { readEntry } from "../source.js";
import type { LoraLayer } from "./types.js";

/** A layer's matrices in memory, row-major: up [out, rank], down [rank, inner]. */
interface Matrices {
  readonly up: Float32Array;
  readonly down: Float32Array;
  readonly out: number;
  readonly inner: number;
}

async function matrices({ up, down, rank }: LoraLayer): Promise<Matrices> {
  const [upValues, downValues] = [realValues(await readEntry(up)), realValues(await readEntry(down))];
  return { up: upValues, down: downValues, out: upValues.length / rank, inner: downValues.length / rank };
}

/** Adds `factor` times the layer's update to `sums` [out, inner...]. */
export async function addUpdate(sums: Float64Array, layer: LoraLayer, factor: number): Promise<void> {
  const { up, down, out, inner } = await matrices(layer);
  const { rank } = layer;
  for (let o = 0; o < out; o++) {
    for (let r = 0; r < rank; r++) {
      const weight = factor * layer.scale * up[o * rank + r]!;
      for (let i = 0; i < inner; i++) sums[o * inner + i]! += weight * down[r * inner + i]!;
    }
  }
}

/** The Frobenius norm of scale * up down: the square root of the sum over r, s of (up^T up)[r, s] (down down^T)[r, s]. */
export async function updateNorm(layer: LoraLayer): Promise<number> {
  const { up, down, out, inner } = await matrices(layer);
  const { rank, scale } = layer;
  let sum = 0;
  for (let r = 0; r < rank; r++) {
    for (let s = 0; s <= r; s++) {
      let [columns, rows] = [0, 0];
      for (let o = 0; o < out; o++) columns += up[o * rank + r]! * up[o * rank + s]!;
      for (let i = 0; i < inner; i++) rows += down[r * inner + i]! * down[s * inner + i]!;
      sum += (r === s ? 1 : 2) * columns * rows;
    }
  }
  return Math.abs(scale) * Math.sqrt(Number.isNaN(sum) ? sum : Math.max(0, sum));
}
