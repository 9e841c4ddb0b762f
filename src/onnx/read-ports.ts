/** @file What an ONNX file takes and gives, and which files hold its weights; of the file itself only the tables of contents are read. */

import { type FileHandle, open } from "node:fs/promises";
import { ModelError } from "../errors.js";
import { dtypeOf } from "../graph/dtype-codes.js";
import type { ValueType } from "../graph/types.js";
import { describeSystemError } from "../util/read-file.js";
import { type Field, fieldsOf, textOf, WireError } from "./wire.js";

/** An ONNX file by its own account. Sizes that it leaves open are symbols, each another. */
export interface OnnxFile {
  readonly inputs: ReadonlyMap<string, ValueType>;
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** Names of the files beside it that hold weights, as it states them. */
  readonly external: readonly string[];
}

/** Bytes read at once. */
const CHUNK = 1 << 16;
/** Bytes of an input's description; far more than any has. */
const MAX_DESCRIPTION = 1 << 16;

/** Field numbers of onnx.proto. */
const MODEL = { graph: 7 } as const;
const GRAPH = { initializer: 5, input: 11, output: 12 } as const;
const TENSOR = { name: 8, externalData: 13 } as const;

/** Reads an ONNX file. @throws ModelError when it is none, or an input or output of it is no tensor of a known type */
export async function readOnnxFile(path: string): Promise<OnnxFile> {
  const handle = await open(path).catch((error: unknown) => {
    throw new ModelError(`${path}: expected an ONNX model, got ${describeSystemError(error)}`, { cause: error });
  });
  try {
    const { size } = await handle.stat();
    return await readFrom(new Reader(handle, size), path);
  } catch (cause) {
    if (!(cause instanceof WireError)) throw cause;
    throw new ModelError(`${path}: expected an ONNX model, got bytes that are not one`, { cause });
  } finally {
    await handle.close();
  }
}

async function readFrom(reader: Reader, path: string): Promise<OnnxFile> {
  const graph = await reader.find(0, reader.size, MODEL.graph);
  if (graph === undefined) throw new ModelError(`${path}: expected an ONNX model, got a file without a graph`);
  const inputs = new Map<string, ValueType>();
  const outputs = new Map<string, ValueType>();
  const stored = new Set<string>();
  const external = new Set<string>();
  for await (const { number, start, end } of reader.fields(graph.start, graph.end)) {
    if (number === GRAPH.input || number === GRAPH.output) {
      const [name, type] = portOf(await reader.bytes(start, end), path);
      (number === GRAPH.input ? inputs : outputs).set(name, type);
    } else if (number === GRAPH.initializer) {
      for await (const field of reader.fields(start, end)) {
        if (field.number === TENSOR.name) stored.add(textOf(await reader.bytes(field.start, field.end)));
        else if (field.number === TENSOR.externalData) {
          const location = locationOf(await reader.bytes(field.start, field.end));
          if (location !== undefined) external.add(location);
        }
      }
    }
  }
  // older files list their weights among the inputs
  for (const name of stored) inputs.delete(name);
  return { inputs, outputs, external: [...external] };
}

/** The place in an entry of a tensor's external data; undefined for another entry. */
export function locationOf(entry: Uint8Array): string | undefined {
  const [key, value] = [within(entry, 1), within(entry, 2)];
  return key !== undefined && value !== undefined && textOf(key) === "location" ? textOf(value) : undefined;
}

/** A ValueInfoProto. */
function portOf(bytes: Uint8Array, path: string): [string, ValueType] {
  const name = textOf(within(bytes, 1) ?? new Uint8Array());
  const tensor = within(bytes, 2, 1);
  const code = tensor === undefined ? undefined : [...fieldsOf(tensor)].find(({ number }) => number === 1)?.value;
  if (tensor === undefined || code === undefined) {
    throw new ModelError(`${path}: ${name}: expected a tensor, got another kind of value`);
  }
  const shape = within(tensor, 2) ?? new Uint8Array();
  const sizes = [...fieldsOf(shape)].map((dim, axis) => {
    const size = [...fieldsOf(shape.subarray(dim.start, dim.end))].find(({ number }) => number === 1)?.value;
    return size === undefined || size < 1 ? `${name.replace(/\W/g, "_")}_${axis}` : size;
  });
  return [name, { dtype: dtypeIn(code, `${path}: ${name}`), shape: sizes }];
}

/** The content of a field of a field of a message. */
function within(bytes: Uint8Array, ...numbers: readonly number[]): Uint8Array | undefined {
  return numbers.reduce<Uint8Array | undefined>((outer, number) => {
    const field = outer === undefined ? undefined : [...fieldsOf(outer)].find((one) => one.number === number);
    return field === undefined ? undefined : outer!.subarray(field.start, field.end);
  }, bytes);
}

function dtypeIn(code: number, where: string): ValueType["dtype"] {
  try {
    return dtypeOf(code);
  } catch (cause) {
    throw new ModelError(`${where}: expected numbers of a known type, got ONNX's type ${code}`, { cause });
  }
}

/** The fields of messages in a file. */
class Reader {
  #chunk = new Uint8Array();
  #start = 0;

  constructor(
    private readonly handle: FileHandle,
    readonly size: number,
  ) {}

  async find(start: number, end: number, number: number): Promise<Field | undefined> {
    for await (const field of this.fields(start, end)) if (field.number === number) return field;
    return undefined;
  }

  /** Fields between two places of the file; what lies in them is passed over. */
  async *fields(start: number, end: number): AsyncGenerator<Field> {
    let at = start;
    while (at < end) {
      // a key and a length take up to twenty bytes
      const head = await this.#read(at, Math.min(at + 20, end));
      const [field] = fieldsOf(head, { wholeLength: end - at });
      if (field === undefined) this.#fail();
      yield { ...field, start: at + field.start, end: at + field.end };
      at += field.end;
    }
  }

  async bytes(start: number, end: number): Promise<Uint8Array> {
    if (end - start > MAX_DESCRIPTION) this.#fail();
    return (await this.#read(start, end)).slice();
  }

  async #read(start: number, end: number): Promise<Uint8Array> {
    if (start < this.#start || end > this.#start + this.#chunk.length) {
      const length = Math.max(Math.min(CHUNK, this.size - start), end - start);
      const buffer = new Uint8Array(length);
      const { bytesRead } = await this.handle.read(buffer, 0, length, start);
      if (bytesRead < end - start) this.#fail();
      [this.#chunk, this.#start] = [buffer.subarray(0, bytesRead), start];
    }
    return this.#chunk.subarray(start - this.#start, end - this.#start);
  }

  #fail(): never {
    throw new WireError("a message that ends too early");
  }
}
