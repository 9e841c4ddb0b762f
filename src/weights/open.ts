/** @file Opening weights of any supported kind, told apart by content and by the standard names of folders. */

import { stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { parseStrictJson } from "../util/strict-json.js";
import { findComponentWeights } from "./component.js";
import { FileReader, describeSystemError } from "./file-reader.js";
import { openSafetensors } from "./safetensors.js";
import { weightSource } from "./source.js";
import { openTorchCheckpoint } from "./torch-checkpoint.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** Shard indexes are lists of names; a larger one is not an index. */
const MAX_INDEX_BYTES = 64 << 20;

/**
 * Opens a weight file (safetensors, PyTorch checkpoint, shard index) or a folder that holds one under a standard name.
 * @throws ModelError that says what the file is when it is not weights: a git LFS pointer, a web page, an empty file, an archive.
 */
export async function openWeights(path: string, options: { variant?: string | undefined } = {}): Promise<WeightSource> {
  const absolute = resolve(path);
  let isFolder: boolean;
  try {
    isFolder = (await stat(absolute)).isDirectory();
  } catch (error) {
    throw new ModelError(`${absolute}: expected a weight file or folder, got ${describeSystemError(error)}`, {
      cause: error,
    });
  }
  if (!isFolder) return openWeightFile(absolute);
  return openWeightFile((await findComponentWeights(absolute, options)).path);
}

async function openWeightFile(path: string): Promise<WeightSource> {
  const kind = FileReader.with(path, recognise);
  switch (kind) {
    case "safetensors":
      return openSafetensors(path);
    case "torch":
      return openTorchCheckpoint(path);
    case "index":
      return openSafetensorsIndex(path);
    default:
      kind satisfies never;
      throw new ModelError(`${path}: expected weights`);
  }
}

const FOREIGN: readonly (readonly [description: string, test: (head: Buffer) => boolean])[] = [
  ["a GGUF file", (head) => startsWith(head, "GGUF")],
  ["a 7z archive", (head) => startsWith(head, "7z\xbc\xaf\x27\x1c")],
  ["a gzip archive", (head) => startsWith(head, "\x1f\x8b")],
  ["a RAR archive", (head) => startsWith(head, "Rar!")],
  ["an HDF5 (Keras) file", (head) => startsWith(head, "\x89HDF")],
  ["a NumPy array", (head) => startsWith(head, "\x93NUMPY")],
  ["a tar archive (PyTorch 0.1.1 or older)", (head) => head.subarray(257, 262).toString("latin1") === "ustar"],
];

function startsWith(head: Buffer, prefix: string): boolean {
  return head.subarray(0, prefix.length).toString("latin1") === prefix;
}

/** Tells the supported kinds apart. @throws ModelError naming what else the file seems to be. */
function recognise(file: FileReader): "safetensors" | "torch" | "index" {
  if (file.size === 0) throw file.fault("expected weights, got an empty file (a download cut short?)");
  const head = file.read(0, Math.min(file.size, 512), "first bytes");
  const text = head.toString("latin1");
  if (text.startsWith("version https://git-lfs.github.com/spec/")) {
    const size = /^size (\d+)$/m.exec(text)?.[1] ?? "unknown";
    throw file.fault(
      `expected weights, got a git LFS pointer to ${size} bytes; fetch the file itself with git lfs pull`,
    );
  }
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) {
    throw file.fault("expected weights, got a web page (a download that needed a login or another address?)");
  }
  if (text.startsWith("PK\x03\x04") || text.startsWith("PK\x05\x06")) return "torch";
  if (head.length >= 9 && head[8] === 0x7b && head.readBigUInt64LE(0) <= BigInt(file.size - 8)) return "safetensors";
  if (head[0] === 0x80 && head[1] !== undefined && head[1] <= 5) return "torch";
  if (file.path.endsWith(".json") && /^\s*\{/.test(text)) return "index";
  if (file.path.endsWith(".safetensors")) return "safetensors"; // its reader says what is damaged
  const foreign = FOREIGN.find(([, test]) => test(head))?.[0] ?? `a file that starts with ${printBytes(head)}`;
  throw file.fault(`expected a safetensors file or a PyTorch checkpoint, got ${foreign}`);
}

function printBytes(head: Buffer): string {
  return [...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/**
 * Opens all shards of an index (`*.index.json`: `{ weight_map: { tensor: file } }`); shards lie beside it.
 * @throws ModelError listing every tensor that its shard lacks.
 */
export async function openSafetensorsIndex(path: string): Promise<WeightSource> {
  const file = resolve(path);
  const shardOf = readWeightMap(file);
  const shards = new Map<string, WeightSource>();
  for (const shard of new Set(shardOf.values())) {
    if (shard === "" || shard === "." || shard === ".." || shard !== basename(shard) || shard.includes("\\")) {
      throw new ModelError(`${file}: expected the name of a file beside the index, got ${JSON.stringify(shard)}`);
    }
    const shardPath = join(dirname(file), shard);
    if (shard.endsWith(".json")) throw new ModelError(`${file}: expected weight files, got ${JSON.stringify(shard)}`);
    shards.set(shard, await openWeightFile(shardPath));
  }
  const entries = new Map<string, WeightEntry>();
  const unusable = new Map<string, string>();
  const metadata = new Map<string, string>();
  const absent: string[] = [];
  for (const [name, shard] of shardOf) {
    const source = shards.get(shard)!;
    const entry = source.entries.get(name);
    const reason = source.unusable.get(name);
    if (entry !== undefined) entries.set(name, entry);
    else if (reason !== undefined) unusable.set(name, reason);
    else absent.push(`${name} in ${shard}`);
  }
  if (absent.length > 0) {
    const more = absent.length > 12 ? `, and ${absent.length - 12} more` : "";
    throw new ModelError(
      `${file}: expected every listed tensor in its shard, got none for ${absent.slice(0, 12).join(", ")}${more}`,
    );
  }
  for (const source of shards.values()) for (const [key, value] of source.metadata) metadata.set(key, value);
  return weightSource({
    description: `${shards.size} shards of ${file}`,
    entries,
    unusable,
    metadata,
  });
}

function readWeightMap(path: string): Map<string, string> {
  return FileReader.with(path, (file) => {
    if (file.size > MAX_INDEX_BYTES)
      throw file.fault(`expected an index of at most ${MAX_INDEX_BYTES} bytes, got ${file.size}`);
    const text = file.read(0, file.size, "index").toString("utf8");
    let map: unknown;
    try {
      const index = parseStrictJson(text);
      map = index instanceof Map ? index.get("weight_map") : undefined;
    } catch (error) {
      throw file.fault(`expected JSON, got a fault ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
    if (!(map instanceof Map)) throw file.fault("expected { weight_map: { tensor: file } }, got no weight_map");
    const shardOf = new Map<string, string>();
    for (const [name, shard] of map as Map<string, unknown>) {
      if (typeof shard !== "string")
        throw file.fault(`weight_map: ${name}: expected a file name, got ${String(shard)}`);
      shardOf.set(name, shard);
    }
    return shardOf;
  });
}
