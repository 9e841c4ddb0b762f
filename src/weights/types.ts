/** @file What a checkpoint offers: named tensors that stay where they are, inside the files of the checkpoint. */

import type { DType } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";

/** One tensor of a checkpoint, in place: dense, row-major, little-endian, `length` bytes from `offset` of `file`. */
export interface WeightEntry {
  /** Key in its source. */
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Absolute path of the file that holds the bytes. */
  readonly file: string;
  /** First byte of the tensor in `file`. */
  readonly offset: number;
  /** Bytes: the product of `shape` times the size of `dtype`. */
  readonly length: number;
  /** The file holds a matrix with its axes swapped: `shape` is that of what it stands for. @default false */
  readonly transposed?: boolean;
}

/** A weight given to a graph: bytes of a checkpoint used in place, or a tensor on the host. */
export type WeightRef = WeightEntry | Tensor;

/** True for a weight that lies in a file. */
export function isWeightEntry(weight: WeightRef): weight is WeightEntry {
  return "file" in weight;
}

/** The tensors of one checkpoint (one file, or all shards of an index). */
export interface WeightSource {
  /** What it is and where, for messages: `safetensors file /models/unet.safetensors`. */
  readonly description: string;
  /** Tensors by key, in the order of the file. */
  readonly entries: ReadonlyMap<string, WeightEntry>;
  /** Tensors that exist but cannot be used in place, by key, with the reason (`dtype F8_E4M3`, `strides [1,4]`). */
  readonly unusable: ReadonlyMap<string, string>;
  /** Strings stored beside the tensors (safetensors `__metadata__`). */
  readonly metadata: ReadonlyMap<string, string>;
  /** Reads one tensor into memory, also a strided one. @throws ModelError when there is no such tensor or the file became shorter. */
  read(name: string): Promise<Tensor>;
}
