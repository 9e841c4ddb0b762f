/** @file Builds damaged and hostile checkpoints: zip archives with chosen lies, pickles opcode by opcode, temporary files. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { ModelError } from "#laurel/errors";
import { openWeights } from "#laurel/weights/open";
import { afterAll, expect } from "vitest";

/** Absolute path of a file in test/fixtures/weights. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(`../fixtures/weights/${name}`, import.meta.url));
}

interface ExpectedTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: string;
}

/** What each checkpoint of the fixtures holds, as torch and safetensors see it. */
export function expectedFiles(): Map<string, Map<string, ExpectedTensor>> {
  const text = readFileSync(fixture("checkpoints.json"), "utf8");
  const { files } = JSON.parse(text) as { files: Record<string, Record<string, ExpectedTensor>> };
  return new Map(Object.entries(files).map(([file, tensors]) => [file, new Map(Object.entries(tensors))]));
}

/** A folder that is removed after the test file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "laurel-weights-"));
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

let counter = 0;

/** Writes bytes to a new file of `folder`. */
export function writeTemporary(folder: string, bytes: Uint8Array | string, name = `file-${counter++}.pt`): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** Opens and expects a ModelError that names the file and matches; any other outcome fails the test. */
export async function expectRefusal(path: string, pattern: RegExp): Promise<void> {
  let caught: unknown;
  try {
    await openWeights(path);
  } catch (error) {
    caught = error;
  }
  expect(caught, `${path} was accepted`).toBeDefined();
  expect(caught).toBeInstanceOf(ModelError);
  const { message } = caught as ModelError;
  expect(message.startsWith(path), message).toBe(true);
  expect(message).toMatch(pattern);
  expect(message).not.toContain("\n");
}

// ---- zip -------------------------------------------------------------------------------------------------------------

/** A member, with whatever its headers should claim instead of the truth. */
export interface Member {
  name: string;
  data: Uint8Array;
  flags?: number;
  method?: number;
  crc?: number;
  localName?: string;
  localFlags?: number;
  localSize?: number;
  localExtra?: Uint8Array;
  centralExtra?: Uint8Array;
  size?: number;
  compressedSize?: number;
  /** Header offset claimed by the directory. */
  offset?: number;
}

/** A zip archive, stored, with the lies its members ask for. */
export function zip(
  members: readonly Member[],
  lies: { count?: number; comment?: string; directoryOffset?: number } = {},
): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let position = 0;
  for (const member of members) {
    const { name, data, flags = 0, method = 0 } = member;
    const crc = member.crc ?? crc32(data);
    const size = member.size ?? data.length;
    const localName = Buffer.from(member.localName ?? name);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(member.localFlags ?? flags, 6);
    local.writeUInt16LE(method, 8);
    local.writeUInt32LE(crc, 14);
    local.writeUInt32LE(member.localSize ?? size, 18);
    local.writeUInt32LE(member.localSize ?? size, 22);
    local.writeUInt16LE(localName.length, 26);
    local.writeUInt16LE(member.localExtra?.length ?? 0, 28);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(flags, 8);
    central.writeUInt16LE(method, 10);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(member.compressedSize ?? size, 20);
    central.writeUInt32LE(size, 24);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt16LE(member.centralExtra?.length ?? 0, 30);
    central.writeUInt32LE(member.offset ?? position, 42);
    directory.push(central, Buffer.from(name), Buffer.from(member.centralExtra ?? []));
    const content = [local, localName, Buffer.from(member.localExtra ?? []), Buffer.from(data)];
    parts.push(...content);
    position += content.reduce((sum, part) => sum + part.length, 0);
  }
  const directoryBytes = Buffer.concat(directory);
  const comment = Buffer.from(lies.comment ?? "");
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(lies.count ?? members.length, 8);
  end.writeUInt16LE(lies.count ?? members.length, 10);
  end.writeUInt32LE(directoryBytes.length, 12);
  end.writeUInt32LE(lies.directoryOffset ?? position, 16);
  end.writeUInt16LE(comment.length, 20);
  return Buffer.concat([...parts, directoryBytes, end, comment]);
}

/** A PyTorch archive around a pickle and its storages. */
export function archive(
  pickle: Uint8Array,
  storages: readonly Uint8Array[] = [],
  extra: readonly Member[] = [],
): Buffer {
  return zip([
    { name: "archive/data.pkl", data: pickle },
    { name: "archive/byteorder", data: Buffer.from("little") },
    ...storages.map((data, key) => ({ name: `archive/data/${key}`, data })),
    { name: "archive/version", data: Buffer.from("3\n") },
    ...extra,
  ]);
}

// ---- pickle ----------------------------------------------------------------------------------------------------------

/** Opcodes as bytes: strings are taken as latin1. */
export function bytes(...parts: readonly (string | Uint8Array | number)[]): Buffer {
  return Buffer.concat(
    parts.map((part) =>
      typeof part === "number"
        ? Buffer.of(part)
        : typeof part === "string"
          ? Buffer.from(part, "latin1")
          : Buffer.from(part),
    ),
  );
}

/** A pickle of protocol 2 around `parts`. */
export function pickle(...parts: readonly (string | Uint8Array | number)[]): Buffer {
  return bytes("\x80\x02", ...parts, ".");
}

/** BINUNICODE. */
export function text(value: string): Buffer {
  const content = Buffer.from(value);
  return bytes("X", uint32(content.length), content);
}

/** BININT. */
export function int(value: number): Buffer {
  const content = Buffer.alloc(4);
  content.writeInt32LE(value);
  return bytes("J", content);
}

/** LONG1. */
export function long(value: bigint): Buffer {
  const content = Buffer.alloc(10);
  content.writeBigUInt64LE(BigInt.asUintN(64, value), 0);
  content.writeUInt16LE(Number(BigInt.asUintN(16, value >> 64n)), 8);
  return bytes("\x8a", 10, content);
}

/** Little-endian unsigned 32 bits. */
export function uint32(value: number): Buffer {
  const content = Buffer.alloc(4);
  content.writeUInt32LE(value);
  return content;
}

/** GLOBAL. */
export function global(module: string, name: string): Buffer {
  return bytes("c", module, "\n", name, "\n");
}

type Part = string | Uint8Array | number;

/** A tensor over storage "0", each part replaceable. */
export function tensor(
  parts: {
    type?: Part;
    key?: Part;
    elements?: Part;
    offset?: Part;
    size?: Part;
    stride?: Part;
    rebuild?: Part;
    tail?: Part;
    id?: Part;
  } = {},
): Buffer {
  const id =
    parts.id ??
    bytes(
      "(",
      text("storage"),
      parts.type ?? global("torch", "FloatStorage"),
      parts.key ?? text("0"),
      text("cpu"),
      parts.elements ?? int(4),
      "t",
    );
  return bytes(
    parts.rebuild ?? global("torch._utils", "_rebuild_tensor_v2"),
    "(",
    id,
    "Q",
    parts.offset ?? int(0),
    parts.size ?? bytes(int(2), int(2), "\x86"),
    parts.stride ?? bytes(int(2), int(1), "\x86"),
    parts.tail ?? bytes("\x89", global("collections", "OrderedDict"), ")R"),
    "tR",
  );
}

/** A dict with one item `weight`. */
export function dictOf(value: Uint8Array): Buffer {
  return bytes("}", text("weight"), value, "s");
}
