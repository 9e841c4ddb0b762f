/**
 * @file Where the members of an uncompressed zip archive lie, as `torch.save` writes it. Stricter than zip readers are: central and
 * local headers must agree and members may not overlap, so that no two readers can see different files in one archive.
 * Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 */

import type { FileReader } from "./file-reader.js";

/** One stored member. */
export interface ZipMember {
  readonly name: string;
  /** First byte of the content in the archive. */
  readonly offset: number;
  /** Bytes of content. */
  readonly length: number;
  /** CRC-32 as declared; 0 also when PyTorch was told not to compute it. */
  readonly crc32: number;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const END_64_LOCATOR = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
const END_BYTES = 22;
const LOCATOR_BYTES = 20;
const END_64_BYTES = 56;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
const MAX_COMMENT = 0xffff;
/** Room for 50,000 members; the largest checkpoints have a tenth. Each member costs a read of its own header. */
const MAX_DIRECTORY_BYTES = 4 << 20;
/** Sizes follow the data (bit 3, always set by PyTorch) and UTF-8 names (bit 11): all that may be set. */
const ALLOWED_FLAGS = 0x0808;

interface Directory {
  readonly offset: number;
  readonly size: number;
  readonly count: number;
}

interface CentralEntry {
  readonly name: string;
  readonly rawName: Buffer;
  readonly flags: number;
  readonly method: number;
  readonly crc32: number;
  readonly compressed: number;
  readonly length: number;
  readonly headerOffset: number;
}

/**
 * All members by name, in the order of the file. `checkNames` may refuse the archive for what it is before any member is looked at.
 * @throws ModelError for compression, encryption, duplicate or unsafe names, overlaps, and headers that contradict each other.
 */
export function readZipDirectory(
  file: FileReader,
  checkNames: (names: readonly string[]) => void,
): ReadonlyMap<string, ZipMember> {
  const directory = findDirectory(file);
  const entries = parseCentral(file, file.read(directory.offset, directory.size, "zip directory"), directory.count);
  checkNames(entries.map(({ name }) => name));
  const members = new Map<string, ZipMember>();
  let end = 0;
  for (const entry of entries.sort((a, b) => a.headerOffset - b.headerOffset)) {
    if (end === 0 && entry.headerOffset !== 0) {
      throw file.fault(`${entry.name}: expected the first zip member at offset 0, got ${entry.headerOffset}`);
    }
    if (entry.headerOffset < end) {
      throw file.fault(
        `${entry.name}: expected zip members that do not overlap, got offset ${entry.headerOffset} before ${end}`,
      );
    }
    if (members.has(entry.name)) throw file.fault(`${entry.name}: expected one zip member of this name, got two`);
    checkStored(file, entry);
    const offset = dataOffset(file, entry);
    end = offset + entry.length;
    if (end > directory.offset) {
      throw file.fault(
        `${entry.name}: expected data before the zip directory at ${directory.offset}, got an end at ${end}`,
      );
    }
    members.set(entry.name, { name: entry.name, offset, length: entry.length, crc32: entry.crc32 });
  }
  return members;
}

/** Finds the end record, which must close the file, and follows it to the directory, with or without zip64. */
function findDirectory(file: FileReader): Directory {
  const tailLength = Math.min(file.size, END_BYTES + MAX_COMMENT);
  const tailStart = file.size - tailLength;
  const tail = file.read(tailStart, tailLength, "end of the zip archive");
  let position = -1;
  for (let i = tailLength - END_BYTES; i >= 0; i--) {
    if (tail.readUInt32LE(i) === END && i + END_BYTES + tail.readUInt16LE(i + 20) === tailLength) {
      position = i;
      break;
    }
  }
  if (position < 0) throw file.fault("expected a zip archive, got one without its end (a download cut short?)");
  const endOffset = tailStart + position;
  const disks = tail.readUInt32LE(position + 4);
  const small = {
    onDisk: tail.readUInt16LE(position + 8),
    count: tail.readUInt16LE(position + 10),
    size: tail.readUInt32LE(position + 12),
    offset: tail.readUInt32LE(position + 16),
  };
  const large = readEnd64(file, endOffset);
  if (large !== undefined) {
    const { directory, at } = large;
    const agrees = (value: number, sentinel: number, exact: number): boolean => value === sentinel || value === exact;
    if (
      !agrees(small.count, 0xffff, directory.count) ||
      !agrees(small.size, 0xffffffff, directory.size) ||
      !agrees(small.offset, 0xffffffff, directory.offset)
    ) {
      throw file.fault("expected the two ends of the zip64 archive to agree, got different directories");
    }
    return checkedDirectory(file, directory, at);
  }
  if (disks !== 0 || small.onDisk !== small.count)
    throw file.fault("expected a zip archive in one file, got a part of several");
  return checkedDirectory(file, small, endOffset);
}

function readEnd64(file: FileReader, endOffset: number): { directory: Directory; at: number } | undefined {
  if (endOffset < LOCATOR_BYTES) return undefined;
  const locator = file.read(endOffset - LOCATOR_BYTES, LOCATOR_BYTES, "zip64 locator");
  if (locator.readUInt32LE(0) !== END_64_LOCATOR) return undefined;
  const at = toNumber(file, locator.readBigUInt64LE(8), "zip64 end");
  const end = file.read(at, END_64_BYTES, "zip64 end");
  if (end.readUInt32LE(0) !== END_64)
    throw file.fault(`expected the zip64 end record at offset ${at}, got something else`);
  if (at + END_64_BYTES !== endOffset - LOCATOR_BYTES)
    throw file.fault("expected the zip64 end record before its locator");
  if (end.readUInt32LE(16) !== 0 || end.readUInt32LE(20) !== 0) {
    throw file.fault("expected a zip archive in one file, got a part of several");
  }
  const directory = {
    count: toNumber(file, end.readBigUInt64LE(32), "zip64 count"),
    size: toNumber(file, end.readBigUInt64LE(40), "zip64 directory size"),
    offset: toNumber(file, end.readBigUInt64LE(48), "zip64 directory offset"),
  };
  return { directory, at };
}

function checkedDirectory(file: FileReader, { offset, size, count }: Directory, end: number): Directory {
  if (offset + size !== end) {
    throw file.fault(
      `expected the zip directory to end at ${end}, got ${offset + size} (data before or within the archive?)`,
    );
  }
  if (size > MAX_DIRECTORY_BYTES)
    throw file.fault(`expected a zip directory of at most ${MAX_DIRECTORY_BYTES} bytes, got ${size}`);
  if (count * CENTRAL_BYTES > size) throw file.fault(`expected ${count} zip members, got a directory of ${size} bytes`);
  return { offset, size, count };
}

function parseCentral(file: FileReader, bytes: Buffer, count: number): CentralEntry[] {
  const entries: CentralEntry[] = [];
  let position = 0;
  for (let i = 0; i < count; i++) {
    if (position + CENTRAL_BYTES > bytes.length || bytes.readUInt32LE(position) !== CENTRAL) {
      throw file.fault(`expected ${count} members in the zip directory, got ${i}`);
    }
    const nameLength = bytes.readUInt16LE(position + 28);
    const extraLength = bytes.readUInt16LE(position + 30);
    const nameEnd = position + CENTRAL_BYTES + nameLength;
    const next = nameEnd + extraLength + bytes.readUInt16LE(position + 32);
    if (next > bytes.length)
      throw file.fault(`expected ${count} members in the zip directory, got a damaged one at ${i}`);
    const rawName = bytes.subarray(position + CENTRAL_BYTES, nameEnd);
    const name = checkedName(file, rawName);
    const flags = bytes.readUInt16LE(position + 8);
    if (bytes.readUInt16LE(position + 34) !== 0) throw file.fault(`${name}: expected a zip archive in one file`);
    const sizes = resolveSizes(file, name, bytes, position, bytes.subarray(nameEnd, nameEnd + extraLength));
    entries.push({
      name,
      rawName,
      flags,
      method: bytes.readUInt16LE(position + 10),
      crc32: bytes.readUInt32LE(position + 16),
      ...sizes,
    });
    position = next;
  }
  if (position !== bytes.length)
    throw file.fault(`expected ${count} members in the zip directory, got more bytes behind them`);
  return entries;
}

/** Names are plain relative paths: anything a file system could take for another place is refused. */
function checkedName(file: FileReader, raw: Buffer): string {
  const name = raw.toString("utf8");
  const parts = name.split("/");
  if (
    !Buffer.from(name).equals(raw) ||
    /[\\:\p{Cc}]/u.test(name) ||
    parts.some((part) => part === ".." || part === ".")
  ) {
    throw file.fault(`expected a plain zip member name, got ${JSON.stringify(name.slice(0, 80))}`);
  }
  if (name === "" || name.startsWith("/"))
    throw file.fault(`expected a relative zip member name, got ${JSON.stringify(name.slice(0, 80))}`);
  return name;
}

/** Size and header offset, from the zip64 extra field where the 32-bit fields are all ones. */
function resolveSizes(file: FileReader, name: string, bytes: Buffer, position: number, extra: Buffer) {
  const large = extraField(extra, 0x0001);
  let used = 0;
  const wide = (value: number): number => {
    if (value !== 0xffffffff) return value;
    if (large === undefined || used + 8 > large.length) throw file.fault(`${name}: expected a zip64 size, got none`);
    used += 8;
    return toNumber(file, large.readBigUInt64LE(used - 8), name);
  };
  const compressed32 = bytes.readUInt32LE(position + 20);
  const length = wide(bytes.readUInt32LE(position + 24));
  const compressed = wide(compressed32);
  const headerOffset = wide(bytes.readUInt32LE(position + 42));
  return { compressed, length, headerOffset };
}

function extraField(extra: Buffer, id: number): Buffer | undefined {
  for (let position = 0; position + 4 <= extra.length;) {
    const length = extra.readUInt16LE(position + 2);
    if (position + 4 + length > extra.length) return undefined;
    if (extra.readUInt16LE(position) === id) return extra.subarray(position + 4, position + 4 + length);
    position += 4 + length;
  }
  return undefined;
}

function checkStored(file: FileReader, { name, flags, method, compressed, length }: CentralEntry): void {
  if ((flags & 0x2041) !== 0) throw file.fault(`${name}: expected a plain zip member, got an encrypted one`);
  if ((flags & ~ALLOWED_FLAGS) !== 0)
    throw file.fault(`${name}: expected a plain zip member, got flags 0x${flags.toString(16)}`);
  if (method !== 0) {
    throw file.fault(
      `${name}: expected an uncompressed zip member, got compression method ${method}; save it again with torch.save`,
    );
  }
  if (compressed !== length) throw file.fault(`${name}: expected ${length} stored bytes, got ${compressed}`);
}

/** Reads the local header, which alone says where the data begins (PyTorch pads it to 64 bytes), and compares it. */
function dataOffset(file: FileReader, entry: CentralEntry): number {
  const header = file.read(entry.headerOffset, LOCAL_BYTES + entry.rawName.length, entry.name);
  if (header.readUInt32LE(0) !== LOCAL)
    throw file.fault(`${entry.name}: expected a zip member at offset ${entry.headerOffset}`);
  const nameLength = header.readUInt16LE(26);
  if (nameLength !== entry.rawName.length || !header.subarray(LOCAL_BYTES).equals(entry.rawName)) {
    const found = header.subarray(LOCAL_BYTES, LOCAL_BYTES + nameLength).toString("utf8");
    throw file.fault(
      `${entry.name}: expected the same name in the zip member's own header, got ${JSON.stringify(found)}`,
    );
  }
  if (header.readUInt16LE(6) !== entry.flags || header.readUInt16LE(8) !== 0) {
    throw file.fault(`${entry.name}: expected the same flags and method in the zip member's own header, got others`);
  }
  const sizesFollow = (entry.flags & 0x8) !== 0;
  const expected = entry.length > 0xfffffffe ? 0xffffffff : entry.length;
  for (const size of [header.readUInt32LE(18), header.readUInt32LE(22)]) {
    if (size !== expected && size !== 0xffffffff && !(sizesFollow && size === 0)) {
      throw file.fault(`${entry.name}: expected ${entry.length} bytes in the zip member's own header, got ${size}`);
    }
  }
  return entry.headerOffset + LOCAL_BYTES + nameLength + header.readUInt16LE(28);
}

function toNumber(file: FileReader, value: bigint, what: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw file.fault(`${what}: expected an offset within the file, got ${value}`);
  return Number(value);
}
