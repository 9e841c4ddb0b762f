/** @file PyTorch checkpoints (`torch.save`), zip and legacy layouts: headers and pickles are read, tensor data stays in the file. */

import { crc32 } from "node:zlib";
import { FileReader } from "./file-reader.js";
import { STORAGES, TORCH_DTYPE_BYTES } from "./pickle-globals.js";
import { PickleFault, PickleTruncated, readPickle } from "./pickle.js";
import type { PickleValue, StorageReference } from "./pickle-values.js";
import { PickleDict, PickleList } from "./pickle-values.js";
import { weightSource } from "./source.js";
import type { StorageRange } from "./torch-tensors.js";
import { collectTensors } from "./torch-tensors.js";
import type { WeightSource } from "./types.js";
import type { ZipMember } from "./zip-directory.js";
import { readZipDirectory } from "./zip-directory.js";

/** Pickles describe tensors and do not hold them: a thousand tensors take about 0.2 MB. */
const MAX_PICKLE_BYTES = 16 << 20;
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;
const FIRST_WINDOW_BYTES = 1 << 20;

/**
 * Opens a checkpoint of tensors: a state dict, or one wrapped under `state_dict`, `model` and the like.
 * @throws ModelError for damaged files, names outside the allow-list, TorchScript, compressed or big-endian files.
 */
export async function openTorchCheckpoint(path: string): Promise<WeightSource> {
  return FileReader.with(path, (file) => {
    try {
      const first = file.read(0, Math.min(4, file.size), "first bytes");
      return first[0] === 0x50 ? openZip(file) : openLegacy(file);
    } catch (error) {
      if (error instanceof PickleFault) throw file.fault(error.message, { cause: error });
      throw error;
    }
  });
}

function torchSource(
  file: FileReader,
  root: PickleValue,
  locate: (storage: StorageReference, what: string) => StorageRange,
) {
  const { under, ...tensors } = collectTensors(file, root, locate);
  const where = under === undefined ? "" : `, ${under}`;
  return weightSource({ description: `PyTorch checkpoint ${file.path}${where}`, ...tensors });
}

// ---- zip -----------------------------------------------------------------------------------------------------------

function openZip(file: FileReader): WeightSource {
  let root = "";
  const members = readZipDirectory(file, (names) => {
    root = archiveRoot(file, names);
  });
  checkVersion(file, members.get(`${root}/version`));
  checkByteOrder(file, members.get(`${root}/byteorder`));
  const pickle = readPickleMember(file, members.get(`${root}/data.pkl`)!);
  const { value, end } = readPickle(pickle, 0, { globals: true });
  if (end !== pickle.length)
    throw file.fault(`data.pkl: expected one pickle, got ${pickle.length - end} bytes behind it`);
  return torchSource(file, value, (storage, what) => {
    const member = members.get(`${root}/data/${storage.key}`);
    if (member === undefined)
      throw file.fault(`${what}: expected a storage ${quote(storage.key)} in the archive, got none`);
    return member;
  });
}

/** The one folder that holds everything. @throws ModelError for other archives. */
function archiveRoot(file: FileReader, names: readonly string[]): string {
  const roots = new Set(names.map((name) => name.slice(0, Math.max(0, name.indexOf("/")))));
  const [root] = roots;
  const found = names.slice(0, 4).join(", ");
  if (root === undefined || roots.size !== 1 || root === "") {
    throw file.fault(`expected a PyTorch archive with one folder, got ${found === "" ? "an empty zip" : found}`);
  }
  if (names.some((name) => name === `${root}/constants.pkl` || name.startsWith(`${root}/code/`))) {
    throw file.fault(
      "expected a checkpoint of tensors, got a TorchScript program; save its state_dict() with torch.save",
    );
  }
  if (!names.includes(`${root}/data.pkl`)) throw file.fault(`expected a PyTorch archive with data.pkl, got ${found}`);
  return root;
}

function checkVersion(file: FileReader, member: ZipMember | undefined): void {
  const text = smallText(file, member);
  if (text !== undefined && !(/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= 10)) {
    throw file.fault(`version: expected 1 to 10, got ${JSON.stringify(text)}`);
  }
}

function checkByteOrder(file: FileReader, member: ZipMember | undefined): void {
  const text = smallText(file, member);
  if (text !== undefined && text !== "little")
    throw file.fault(`byteorder: expected little, got ${JSON.stringify(text)}`);
}

/** A key as an error shows it. */
function quote(key: string): string {
  return JSON.stringify(key.slice(0, 80));
}

function smallText(file: FileReader, member: ZipMember | undefined): string | undefined {
  if (member === undefined) return undefined;
  if (member.length > 16) throw file.fault(`${member.name}: expected a word, got ${member.length} bytes`);
  return file.read(member.offset, member.length, member.name).toString("latin1").trim();
}

function readPickleMember(file: FileReader, member: ZipMember): Buffer {
  if (member.length > MAX_PICKLE_BYTES) {
    throw file.fault(`${member.name}: expected at most ${MAX_PICKLE_BYTES} bytes of pickle, got ${member.length}`);
  }
  const bytes = file.read(member.offset, member.length, member.name);
  // PyTorch writes 0 when told not to compute it.
  if (member.crc32 !== 0 && crc32(bytes) !== member.crc32) {
    throw file.fault(
      `${member.name}: expected CRC-32 ${member.crc32.toString(16)}, got ${crc32(bytes).toString(16)} (damaged?)`,
    );
  }
  return bytes;
}

// ---- legacy: five pickles, then each storage as a 64-bit length and its bytes ----------------------------------------

interface LegacyHeader {
  readonly root: PickleValue;
  readonly keys: readonly string[];
  readonly storages: readonly StorageReference[];
  readonly end: number;
}

function openLegacy(file: FileReader): WeightSource {
  const { root, keys, storages, end } = readLegacyHeader(file);
  const elementBytes = storageElementBytes(file, storages);
  const ranges = new Map<string, StorageRange>();
  let position = end;
  for (const key of keys) {
    const bytesPerElement = elementBytes.get(key);
    if (bytesPerElement === undefined) throw file.fault(`expected storages that a tensor uses, got ${quote(key)}`);
    if (ranges.has(key)) throw file.fault(`expected each storage once, got ${quote(key)} twice`);
    const count = file.read(position, 8, `length of storage ${quote(key)}`).readBigInt64LE(0);
    const length = Number(count) * bytesPerElement;
    if (count < 0n || position + 8 + length > file.size) {
      throw file.fault(
        `storage ${quote(key)}: expected ${count} elements, got the end of the file at ${file.size} (a download cut short?)`,
      );
    }
    ranges.set(key, { offset: position + 8, length });
    position += 8 + length;
  }
  if (position !== file.size)
    throw file.fault(`expected the last storage to end the file, got ${file.size - position} more bytes`);
  return torchSource(file, root, (storage, what) => {
    const range = ranges.get(storage.key);
    if (range === undefined)
      throw file.fault(`${what}: expected a storage ${quote(storage.key)} in the file, got none`);
    return range;
  });
}

/** Reads the pickles from a window at the start of the file, doubled until they end within it. */
function readLegacyHeader(file: FileReader): LegacyHeader {
  for (let window = FIRST_WINDOW_BYTES; ; window *= 2) {
    const length = Math.min(window, file.size, MAX_PICKLE_BYTES);
    try {
      return parseLegacyHeader(file, file.read(0, length, "pickles"));
    } catch (error) {
      if (!(error instanceof PickleTruncated) || length === file.size) throw error;
      if (length === MAX_PICKLE_BYTES)
        throw file.fault(`expected at most ${MAX_PICKLE_BYTES} bytes of pickles, got more`);
    }
  }
}

function parseLegacyHeader(file: FileReader, bytes: Buffer): LegacyHeader {
  const magic = readPickle(bytes, 0, { globals: false });
  if (magic.value !== LEGACY_MAGIC) throw file.fault("expected the magic number of torch.save, got another pickle");
  const protocol = readPickle(bytes, magic.end, { globals: false });
  if (protocol.value !== LEGACY_PROTOCOL) throw file.fault(`expected protocol ${LEGACY_PROTOCOL}, got another`);
  const system = readPickle(bytes, protocol.end, { globals: false });
  if (!(system.value instanceof PickleDict) || system.value.items.get("little_endian") !== true) {
    throw file.fault("expected a checkpoint of a little-endian machine, got another");
  }
  const root = readPickle(bytes, system.end, { globals: true });
  const keys = readPickle(bytes, root.end, { globals: false });
  if (!(keys.value instanceof PickleList)) throw file.fault("expected a list of storages, got another pickle");
  const names = keys.value.items.filter((key) => typeof key === "string");
  if (names.length !== keys.value.items.length) throw file.fault("expected a list of storage names, got other values");
  return { root: root.value, keys: names, storages: root.storages, end: keys.end };
}

function storageElementBytes(file: FileReader, storages: readonly StorageReference[]): Map<string, number> {
  const bytes = new Map<string, number>();
  for (const { type, key } of storages) {
    const size = TORCH_DTYPE_BYTES.get(STORAGES.get(type)!)!;
    if ((bytes.get(key) ?? size) !== size) throw file.fault(`storage ${quote(key)}: expected one type, got several`);
    bytes.set(key, size);
  }
  return bytes;
}
