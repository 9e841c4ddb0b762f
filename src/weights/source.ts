/** @file Turns a list of entries into a WeightSource and reads their values. */

import { endianness } from "node:os";
import { ModelError } from "../errors.js";
import type { DType, TypedArrayOf } from "../tensor/dtype.js";
import { allocate, byteSize } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount } from "../tensor/tensor.js";
import { closest } from "../util/closest.js";
import { readRange } from "../util/files.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** A tensor whose elements do not follow each other in the file: it cannot be used in place, but it can be read. */
export interface StridedEntry extends Omit<WeightEntry, "name"> {
  /** Elements between neighbours along each axis; `length` spans from the first element to the last. */
  readonly strides: readonly number[];
}

/** The pieces of a source that its file format finds out. */
export interface SourceContents {
  readonly description: string;
  readonly entries: ReadonlyMap<string, WeightEntry>;
  readonly strided?: ReadonlyMap<string, StridedEntry>;
  readonly unusable?: ReadonlyMap<string, string>;
  readonly metadata?: ReadonlyMap<string, string>;
}

/** A source over `contents`. */
export function weightSource(contents: SourceContents): WeightSource {
  const { description, entries, metadata = new Map<string, string>() } = contents;
  const strided = contents.strided ?? new Map<string, StridedEntry>();
  const unusable = new Map(contents.unusable);
  for (const [name, { strides }] of strided)
    unusable.set(name, `a transposed or sliced view, strides [${strides.join(",")}]; save it with .contiguous()`);
  return {
    description,
    entries,
    unusable,
    metadata,
    async read(name) {
      const entry = entries.get(name);
      if (entry !== undefined) return readEntry(entry);
      const view = strided.get(name);
      if (view !== undefined) return gather({ name, ...view });
      const reason = unusable.get(name);
      if (reason !== undefined)
        throw new ModelError(`${description}: ${name}: expected a tensor Laurel can read, got ${reason}`);
      const near = closest(name, entries.keys());
      throw new ModelError(
        `${description}: expected a tensor ${name}, got none of that name${near === undefined ? "" : `; the closest is ${near}`}`,
      );
    },
  };
}

/** Reads one entry into memory. @throws ModelError when the file is gone or became shorter. */
export async function readEntry(entry: WeightEntry): Promise<Tensor> {
  assertLittleEndianHost();
  let bytes: Uint8Array;
  try {
    bytes = await readRange(entry.file, entry.offset, entry.length);
  } catch (error) {
    throw new ModelError(
      `${entry.file}: ${entry.name}: expected ${entry.length} bytes at offset ${entry.offset}, got ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
  const { dtype, shape } = entry;
  const data = viewAs(dtype, bytes);
  if (entry.transposed !== true) return { dtype, shape, data };
  return { dtype, shape, data: inOrder({ dtype, shape, strides: [1, shape[0]!] }, data) };
}

/** Reads a strided tensor and puts its elements in row-major order. */
async function gather(entry: StridedEntry & { readonly name: string }): Promise<Tensor> {
  const { dtype, shape } = entry;
  return { dtype, shape, data: inOrder(entry, (await readEntry(entry)).data) };
}

/** The elements of a strided tensor in row-major order. */
function inOrder(
  { dtype, shape, strides }: Pick<StridedEntry, "dtype" | "shape" | "strides">,
  source: TypedArrayOf[DType],
): TypedArrayOf[DType] {
  const data = allocate(dtype, elementCount(shape));
  const index = shape.map(() => 0);
  let position = 0;
  for (let i = 0; i < data.length; i++) {
    data[i] = source[position]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      position += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      position -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return data;
}

/** The bytes as elements of `dtype`, without copying. */
function viewAs(dtype: DType, bytes: Uint8Array): TypedArrayOf[DType] {
  const array = allocate(dtype, 0).constructor as new (
    buffer: ArrayBufferLike,
    offset: number,
    length: number,
  ) => TypedArrayOf[DType];
  return new array(bytes.buffer, bytes.byteOffset, bytes.byteLength / byteSize(dtype));
}

/** Checkpoints are little-endian and are used without conversion. */
export function assertLittleEndianHost(): void {
  if (endianness() !== "LE") throw new ModelError("weights: expected a little-endian machine, got a big-endian one");
}

/** Bytes of a dense tensor, or undefined when that is not a number JavaScript holds exactly. */
export function denseLength(shape: readonly number[], bytesPerElement: number): number | undefined {
  const length = elementCount(shape) * bytesPerElement;
  return Number.isSafeInteger(length) ? length : undefined;
}
