/** @file The safetensors format: reading headers, sharded indexes, and writing. Format: https://github.com/huggingface/safetensors#format */

import type { DType } from "../tensor/dtype.js";
import { byteSize } from "../tensor/dtype.js";
import type { Tensor } from "../tensor/tensor.js";
import { elementCount } from "../tensor/tensor.js";
import { UsageError } from "../errors.js";
import { writeFileAtomic } from "../util/files.js";
import type { JsonValue } from "../util/strict-json.js";
import { parseStrictJson } from "../util/strict-json.js";
import { FileReader } from "./file-reader.js";
import { assertLittleEndianHost, weightSource } from "./source.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** As huggingface_hub's limit; the largest checkpoints in use take about a tenth. */
const MAX_HEADER_BYTES = 25_000_000;
/** The longest names in use have about 150 characters. */
const MAX_NAME = 512;
/** More axes than any tensor has. */
const MAX_RANK = 64;

/** Every dtype the format names: bits per element, and Laurel's name where it has one. */
const DTYPES: ReadonlyMap<string, { readonly bits: number; readonly dtype?: DType }> = new Map([
  ["BOOL", { bits: 8, dtype: "bool" }],
  ["F4", { bits: 4 }],
  ["F6_E2M3", { bits: 6 }],
  ["F6_E3M2", { bits: 6 }],
  ["U8", { bits: 8, dtype: "uint8" }],
  ["I8", { bits: 8, dtype: "int8" }],
  ["F8_E5M2", { bits: 8 }],
  ["F8_E4M3", { bits: 8 }],
  ["F8_E8M0", { bits: 8 }],
  ["F8_E5M2FNUZ", { bits: 8 }],
  ["F8_E4M3FNUZ", { bits: 8 }],
  ["I16", { bits: 16 }],
  ["U16", { bits: 16 }],
  ["F16", { bits: 16, dtype: "float16" }],
  ["BF16", { bits: 16, dtype: "bfloat16" }],
  ["I32", { bits: 32, dtype: "int32" }],
  ["U32", { bits: 32 }],
  ["F32", { bits: 32, dtype: "float32" }],
  ["C64", { bits: 64 }],
  ["F64", { bits: 64, dtype: "float64" }],
  ["I64", { bits: 64, dtype: "int64" }],
  ["U64", { bits: 64 }],
] as const);

const NAMES: { readonly [D in DType]: string } = {
  float32: "F32",
  float64: "F64",
  float16: "F16",
  bfloat16: "BF16",
  int8: "I8",
  uint8: "U8",
  int32: "I32",
  int64: "I64",
  bool: "BOOL",
};

/**
 * Opens a safetensors file; reads its header only.
 * @throws ModelError when the file is damaged: header length, JSON, duplicate keys, dtypes, shapes, holes, overlaps, trailing bytes.
 */
export async function openSafetensors(path: string): Promise<WeightSource> {
  return FileReader.with(path, (file) => {
    if (file.size < 8) throw file.fault(`expected a safetensors file, got ${file.size} bytes`);
    const headerLength = file.read(0, 8, "header length").readBigUInt64LE(0);
    if (headerLength > MAX_HEADER_BYTES) {
      throw file.fault(`expected a safetensors header of at most ${MAX_HEADER_BYTES} bytes, got ${headerLength}`);
    }
    const dataStart = 8 + Number(headerLength);
    if (dataStart > file.size) {
      throw file.fault(
        `expected a header of ${headerLength} bytes, got a file of ${file.size} (a download cut short?)`,
      );
    }
    const header = parseHeader(file, file.read(8, Number(headerLength), "header"));
    return weightSource({ description: `safetensors file ${file.path}`, ...readHeader(file, header, dataStart) });
  });
}

function parseHeader(file: FileReader, bytes: Buffer): Map<string, JsonValue> {
  if (bytes[0] !== 0x7b) throw file.fault("expected a safetensors header that starts with '{', got something else");
  let header: JsonValue;
  try {
    header = parseStrictJson(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (error) {
    throw file.fault(
      `expected a header in JSON, got a fault ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
  if (!(header instanceof Map)) throw file.fault("expected a JSON object as header");
  return header;
}

interface RawTensor {
  readonly name: string;
  readonly dtypeName: string;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

function readHeader(file: FileReader, header: ReadonlyMap<string, JsonValue>, dataStart: number) {
  const metadata = readMetadata(file, header.get("__metadata__"));
  const tensors: RawTensor[] = [];
  for (const [name, info] of header) if (name !== "__metadata__") tensors.push(readTensor(file, name, info));
  checkCoverage(file, tensors, file.size - dataStart);

  const entries = new Map<string, WeightEntry>();
  const unusable = new Map<string, string>();
  for (const { name, dtypeName, shape, begin, end } of tensors) {
    const dtype = DTYPES.get(dtypeName)?.dtype;
    if (dtype === undefined) unusable.set(name, `dtype ${dtypeName}`);
    else entries.set(name, { name, dtype, shape, file: file.path, offset: dataStart + begin, length: end - begin });
  }
  return { entries, unusable, metadata };
}

function readMetadata(file: FileReader, value: JsonValue | undefined): Map<string, string> {
  const metadata = new Map<string, string>();
  if (value === undefined) return metadata;
  if (!(value instanceof Map)) throw file.fault("__metadata__: expected an object of strings");
  for (const [key, text] of value) {
    if (typeof text !== "string")
      throw file.fault(`__metadata__: ${key.slice(0, 64)}: expected a string, got ${print(text)}`);
    metadata.set(key, text);
  }
  return metadata;
}

function readTensor(file: FileReader, name: string, info: JsonValue): RawTensor {
  if (name.length > MAX_NAME) {
    throw file.fault(`${name.slice(0, 64)}...: expected a name of at most ${MAX_NAME} characters, got ${name.length}`);
  }
  if (!(info instanceof Map)) throw file.fault(`${name}: expected { dtype, shape, data_offsets }`);
  const dtypeName = info.get("dtype");
  const format = typeof dtypeName === "string" ? DTYPES.get(dtypeName) : undefined;
  if (typeof dtypeName !== "string" || format === undefined) {
    throw file.fault(`${name}: expected a dtype of the safetensors format, got ${print(dtypeName)}`);
  }
  const shape = wholeNumbers(info.get("shape"));
  if (shape === undefined)
    throw file.fault(`${name}: expected a shape of whole numbers, got ${print(info.get("shape"))}`);
  const offsets = wholeNumbers(info.get("data_offsets"));
  const [begin, end] = offsets ?? [];
  if (offsets?.length !== 2 || begin === undefined || end === undefined || begin > end) {
    throw file.fault(`${name}: expected data_offsets [begin, end], got ${print(info.get("data_offsets"))}`);
  }
  const bits = elementCount(shape) * format.bits;
  if (!Number.isSafeInteger(bits) || bits % 8 !== 0 || bits / 8 !== end - begin) {
    throw file.fault(`${name}: expected ${bits / 8} bytes for ${dtypeName}[${shape.join(",")}], got ${end - begin}`);
  }
  return { name, dtypeName, shape, begin, end };
}

/** Tensors must fill the data exactly: no hole, no overlap, nothing behind the last. */
function checkCoverage(file: FileReader, tensors: readonly RawTensor[], dataLength: number): void {
  let position = 0;
  for (const { name, begin, end } of [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== position) {
      throw file.fault(
        `${name}: expected data at offset ${position}, got ${begin} (${begin < position ? "overlap" : "hole"})`,
      );
    }
    position = end;
  }
  if (position !== dataLength) {
    const hint = dataLength < position ? " (a download cut short?)" : "";
    throw file.fault(`expected ${position} bytes of tensor data, got ${dataLength}${hint}`);
  }
}

function wholeNumbers(value: JsonValue | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  if (value.length > MAX_RANK) return undefined;
  const numbers: number[] = [];
  for (const item of value) {
    if (typeof item !== "number" || !Number.isSafeInteger(item) || item < 0 || Object.is(item, -0)) return undefined;
    numbers.push(item);
  }
  return numbers;
}

function print(value: JsonValue | undefined): string {
  return (JSON.stringify(value) ?? "none").slice(0, 80);
}

/** A tensor that is read when it is written: files larger than memory can be made of them. */
export interface DeferredTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** A tensor of this dtype and shape. */
  read(): Promise<Tensor>;
}

/** A tensor to be written: at hand, or read in its turn. */
export type TensorSource = Tensor | DeferredTensor;

/**
 * Writes tensors as a safetensors file, atomically. Equal tensors and metadata give equal bytes, whatever the order of the maps:
 * tensors are laid out by element size (descending), then name, so that each is aligned, and the data starts at a multiple of 8.
 * @throws UsageError when a tensor's data does not fit its shape.
 */
export async function saveSafetensors(
  path: string,
  tensors: ReadonlyMap<string, TensorSource>,
  metadata: ReadonlyMap<string, string> | Readonly<Record<string, string>> = {},
  options: { durable?: boolean } = {},
): Promise<void> {
  assertLittleEndianHost();
  const ordered = [...tensors].sort(
    ([a, x], [b, y]) => byteSize(y.dtype) - byteSize(x.dtype) || (a < b ? -1 : Number(a > b)),
  );
  const fields: string[] = [];
  const strings = [...(metadata instanceof Map ? metadata : new Map(Object.entries(metadata)))];
  if (strings.length > 0) {
    strings.sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
    const pairs = strings.map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`);
    fields.push(`"__metadata__":{${pairs.join(",")}}`);
  }
  let position = 0;
  for (const [name, source] of ordered) {
    const { dtype, shape } = source;
    if (name === "__metadata__") throw new UsageError(`${path}: expected a tensor name, got the reserved __metadata__`);
    if ("data" in source) checkElements(path, name, source, source);
    const end = position + elementCount(shape) * byteSize(dtype);
    const info = { dtype: NAMES[dtype], shape, data_offsets: [position, end] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(info)}`);
    position = end;
  }
  const text = Buffer.from(`{${fields.join(",")}}`);
  const header = Buffer.alloc(8 + Math.ceil(text.length / 8) * 8, " ");
  header.writeBigUInt64LE(BigInt(header.length - 8), 0);
  text.copy(header, 8);
  await writeFileAtomic(path, pieces(path, header, ordered), options);
}

async function* pieces(
  path: string,
  header: Uint8Array,
  tensors: readonly (readonly [string, TensorSource])[],
): AsyncGenerator<Uint8Array> {
  yield header;
  for (const [name, source] of tensors) {
    const tensor = "data" in source ? source : await source.read();
    checkElements(path, name, source, tensor);
    const { data } = tensor;
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
}

/** @throws UsageError when a tensor is not what was said of it */
function checkElements(
  path: string,
  name: string,
  { dtype, shape }: Pick<TensorSource, "dtype" | "shape">,
  { dtype: actual, data }: Tensor,
): void {
  if (data.length !== elementCount(shape)) {
    throw new UsageError(`${path}: ${name}: expected ${elementCount(shape)} elements, got ${data.length}`);
  }
  if (actual !== dtype) throw new UsageError(`${path}: ${name}: expected ${dtype}, got ${actual}`);
}
