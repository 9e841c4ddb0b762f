/** @file From the value of a checkpoint's pickle to entries: finds the tensors and checks every number against the file. */

import type { DType } from "../tensor/dtype.js";
import { elementCount } from "../tensor/tensor.js";
import type { FileReader } from "./file-reader.js";
import { STORAGES, TORCH_DTYPE_BYTES } from "./pickle-globals.js";
import type { PickleValue, StorageReference } from "./pickle-values.js";
import { PickleDict, PickleList, PickleTuple, TensorReference } from "./pickle-values.js";
import type { StridedEntry } from "./source.js";
import type { WeightEntry } from "./types.js";

/** Bytes of a storage in the file. */
export interface StorageRange {
  readonly offset: number;
  readonly length: number;
}

/** Finds a storage of the file. `what` names the tensor in errors. */
export type LocateStorage = (storage: StorageReference, what: string) => StorageRange;

/** The tensors of a checkpoint. */
export interface TorchTensors {
  readonly entries: Map<string, WeightEntry>;
  readonly strided: Map<string, StridedEntry>;
  readonly unusable: Map<string, string>;
  /** The key under which the state dict lay, if it was wrapped: `state_dict`. */
  readonly under: string | undefined;
}

const LAUREL_DTYPES: ReadonlyMap<string, DType> = new Map<string, DType>([
  ["torch.float64", "float64"],
  ["torch.float32", "float32"],
  ["torch.float16", "float16"],
  ["torch.bfloat16", "bfloat16"],
  ["torch.int64", "int64"],
  ["torch.int32", "int32"],
  ["torch.int8", "int8"],
  ["torch.uint8", "uint8"],
  ["torch.bool", "bool"],
]);

/** Where training scripts keep the state dict beside optimizer state and counters. */
const WRAPPERS = ["state_dict", "model_state_dict", "model", "module", "params_ema", "params"];
const MAX_DEPTH = 32;
const MAX_VISITS = 1_000_000;
const MAX_RANK = 64;
/** The longest names in use have about 150 characters. */
const MAX_NAME = 512;

/**
 * Every tensor in `root`, by its path of keys joined with dots; of a wrapped state dict, only that.
 * @throws ModelError for a value without tensors, cycles, and tensors that reach beyond their storage or the file.
 */
export function collectTensors(file: FileReader, root: PickleValue, locate: LocateStorage): TorchTensors {
  const under = wrapper(root);
  const tensors: TorchTensors = { entries: new Map(), strided: new Map(), unusable: new Map(), under };
  const start = under === undefined ? root : (root as PickleDict).items.get(under)!;
  let visits = 0;
  const walk = (value: PickleValue, path: string, depth: number): void => {
    if (++visits > MAX_VISITS) throw file.fault(`expected at most ${MAX_VISITS} values, got more`);
    if (value instanceof TensorReference) return place(file, path, value, locate, tensors);
    if (!(value instanceof PickleDict || value instanceof PickleList || value instanceof PickleTuple)) return;
    if (depth > MAX_DEPTH)
      throw file.fault(`${path.slice(0, 80)}: expected at most ${MAX_DEPTH} nested values, got more (a cycle?)`);
    for (const [key, item] of value.items.entries()) {
      walk(item, joined(file, path, keyText(key)), depth + 1);
    }
  };
  walk(start, "", 0);
  if (tensors.entries.size + tensors.strided.size + tensors.unusable.size === 0) {
    throw file.fault("expected a dict of tensors, got none");
  }
  return tensors;
}

/** The name of what lies under `key` of `path`. Long names shared by many tensors would fill the memory. */
function joined(file: FileReader, path: string, key: string): string {
  const name = path === "" ? key : `${path}.${key}`;
  if (name.length <= MAX_NAME) return name;
  throw file.fault(`${name.slice(0, 64)}...: expected a name of at most ${MAX_NAME} characters, got ${name.length}`);
}

function wrapper(root: PickleValue): string | undefined {
  if (!(root instanceof PickleDict)) return undefined;
  for (const value of root.items.values()) if (value instanceof TensorReference) return undefined;
  return WRAPPERS.find((key) => root.items.get(key) instanceof PickleDict);
}

function keyText(key: PickleValue): string {
  return typeof key === "object" ? (key?.constructor.name ?? "None") : String(key);
}

/** Checks one tensor and files it under `name`. */
function place(
  file: FileReader,
  name: string,
  tensor: TensorReference,
  locate: LocateStorage,
  { entries, strided, unusable }: TorchTensors,
): void {
  if (name === "") throw file.fault("expected a dict of tensors, got a single tensor");
  if (entries.has(name) || strided.has(name) || unusable.has(name)) {
    throw file.fault(`${name}: expected one tensor of this name, got two`);
  }
  const shape = wholeNumbers(tensor.size);
  const strides = wholeNumbers(tensor.stride);
  if (shape === undefined) throw file.fault(`${name}: expected a shape of whole numbers, got another`);
  if (strides?.length !== shape.length) throw file.fault(`${name}: expected ${shape.length} strides, got others`);
  if (!isWhole(tensor.offset))
    throw file.fault(`${name}: expected a whole storage offset, got ${String(tensor.offset)}`);

  const stored = STORAGES.get(tensor.storage.type)!;
  const dtypeName = tensor.dtype?.name ?? stored;
  const elementBytes = TORCH_DTYPE_BYTES.get(dtypeName);
  if (elementBytes === undefined || dtypeName === "bytes" || (stored !== "bytes" && stored !== dtypeName)) {
    throw file.fault(`${name}: expected the dtype of ${tensor.storage.type}, got ${dtypeName}`);
  }
  const storage = checkedStorage(file, name, tensor.storage, locate);
  const elements = elementCount(shape);
  const extent = elements === 0 ? 0 : shape.reduce((last, size, axis) => last + (size - 1) * strides[axis]!, 1);
  const end = (tensor.offset + extent) * elementBytes;
  if (!Number.isSafeInteger(elements) || !Number.isSafeInteger(end) || end > storage.length) {
    throw file.fault(`${name}: expected a tensor within its storage of ${storage.length} bytes, got an end at ${end}`);
  }
  const dtype = LAUREL_DTYPES.get(dtypeName);
  const offset = storage.offset + tensor.offset * elementBytes;
  const flags = tensor.flags instanceof PickleDict ? [...tensor.flags.items.keys()].map(keyText) : [];
  if (dtype === undefined) unusable.set(name, `dtype ${dtypeName}`);
  else if (flags.length > 0) unusable.set(name, `a view with ${flags.join(" and ")}`);
  else if (isDense(shape, strides)) {
    entries.set(name, { name, dtype, shape, file: file.path, offset, length: elements * elementBytes });
  } else if (elements > extent) {
    unusable.set(name, `an expanded view, strides [${strides.join(",")}]`);
  } else {
    strided.set(name, { dtype, shape, strides, file: file.path, offset, length: extent * elementBytes });
  }
}

/** The storage's bytes, which must be exactly as many as the pickle says. */
function checkedStorage(
  file: FileReader,
  name: string,
  storage: StorageReference,
  locate: LocateStorage,
): StorageRange {
  const bytesPerElement = TORCH_DTYPE_BYTES.get(STORAGES.get(storage.type)!)!;
  if (!isWhole(storage.length))
    throw file.fault(`${name}: expected a whole storage length, got ${String(storage.length)}`);
  const range = locate(storage, name);
  if (storage.length * bytesPerElement !== range.length) {
    throw file.fault(
      `${name}: expected ${range.length} bytes in storage ${storage.key.slice(0, 80)}, got ${storage.length} elements of ${bytesPerElement}`,
    );
  }
  if (storage.view === null) return range;
  // (key, offset, length) in elements: a legacy storage that is a part of another.
  const parts = wholeNumbers(storage.view instanceof PickleTuple ? new PickleTuple(storage.view.items.slice(1)) : null);
  const [offset, length] = parts ?? [];
  if (parts?.length !== 2 || offset === undefined || length === undefined || offset + length > storage.length) {
    throw file.fault(`${name}: expected a view within storage ${storage.key.slice(0, 80)}, got another`);
  }
  return { offset: range.offset + offset * bytesPerElement, length: length * bytesPerElement };
}

function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] === 0) return true;
    if (shape[axis] === 1) continue;
    if (strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

function isWhole(value: PickleValue): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function wholeNumbers(value: PickleValue): number[] | undefined {
  if (!(value instanceof PickleTuple || value instanceof PickleList) || value.items.length > MAX_RANK) return undefined;
  const numbers: number[] = [];
  for (const item of value.items) {
    if (!isWhole(item)) return undefined;
    numbers.push(item);
  }
  return numbers;
}
