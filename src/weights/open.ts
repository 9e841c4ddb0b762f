/** @file Opening weights of any supported kind, told apart by content and by the standard names of folders. */

import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ModelError } from "../errors.js";
import { describeBytes, HEAD_BYTES, recogniseForeign } from "../util/foreign.js";
import { describeSystemError } from "../util/read-file.js";
import { parseStrictJson } from "../util/strict-json.js";
import { findComponentWeights } from "./component.js";
import { FileReader } from "./file-reader.js";
import { openSafetensors } from "./safetensors.js";
import { weightSource } from "./source.js";
import { openTorchCheckpoint } from "./torch-checkpoint.js";
import type { WeightEntry, WeightSource } from "./types.js";

/** Shard indexes are lists of names; a larger one is not an index. */
const MAX_INDEX_BYTES = 16 << 20;

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

/** Tells the supported kinds apart. @throws ModelError naming what else the file seems to be. */
function recognise(file: FileReader): "safetensors" | "torch" | "index" {
  const head = file.read(0, Math.min(file.size, HEAD_BYTES), "first bytes");
  const text = head.toString("latin1");
  if (text.startsWith("PK\x03\x04") || text.startsWith("PK\x05\x06")) return "torch";
  if (head.length >= 9 && head[8] === 0x7b && head.readBigUInt64LE(0) < 1n << 32n) return "safetensors";
  if (head[0] === 0x80 && head[1] !== undefined && head[1] <= 5) return "torch";
  const foreign = recogniseForeign(head);
  if (foreign !== undefined) throw file.fault(`expected weights, got ${foreign}`);
  if (file.path.endsWith(".json") && /^\s*\{/.test(text)) return "index";
  if (file.path.endsWith(".safetensors")) return "safetensors"; // its reader says what is damaged
  throw file.fault(`expected a safetensors file or a PyTorch checkpoint, got ${describeBytes(head)}`);
}

/**
 * Opens all shards of an index (`*.index.json`: `{ weight_map: { tensor: file } }`); shards lie beside it.
 * @throws ModelError listing every tensor that its shard lacks.
 */
export async function openSafetensorsIndex(path: string): Promise<WeightSource> {
  const file = resolve(path);
  const shardOf = readWeightMap(file);
  const shards = new Map<string, WeightSource>();
  const names = new Set(shardOf.values());
  for (const shard of names) {
    if (shard === "" || shard === "." || shard === ".." || shard !== basename(shard) || shard.includes("\\")) {
      throw new ModelError(
        `${file}: expected the name of a file beside the index, got ${JSON.stringify(shard.slice(0, 80))}`,
      );
    }
    if (shard.endsWith(".json")) throw new ModelError(`${file}: expected weight files, got ${JSON.stringify(shard)}`);
  }
  const beside = new Set(await readdir(dirname(file)));
  const absentShards = [...names].filter((shard) => !beside.has(shard));
  if (absentShards.length > 0) {
    throw new ModelError(
      `${file}: expected every shard beside it, got none for ${shortList(absentShards)}; fetch the missing files`,
    );
  }
  for (const shard of names) shards.set(shard, await openWeightFile(join(dirname(file), shard)));
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
    throw new ModelError(`${file}: expected every listed tensor in its shard, got none for ${shortList(absent)}`);
  }
  for (const source of shards.values()) for (const [key, value] of source.metadata) metadata.set(key, value);
  return weightSource({
    description: `${shards.size} shards of ${file}`,
    entries,
    unusable,
    metadata,
  });
}

/** At most twelve names, the rest counted. */
function shortList(names: readonly string[]): string {
  return `${names.slice(0, 12).join(", ")}${names.length > 12 ? `, and ${names.length - 12} more` : ""}`;
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
        throw file.fault(`weight_map: ${name.slice(0, 80)}: expected a file name, got ${describeKind(shard)}`);
      shardOf.set(name, shard);
    }
    return shardOf;
  });
}

function describeKind(value: unknown): string {
  if (value instanceof Map) return "an object";
  return Array.isArray(value) ? "a list" : String(value);
}
