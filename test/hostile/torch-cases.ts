/** @file Lying zip archives and tensors that reach beyond their bytes, in files as torch.save writes them. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { openWeights } from "#laurel/weights/open";
import type { Member } from "../weights/helpers.js";
import { archive, bytes, dictOf, global, int, long, pickle, tensor, text, zip } from "../weights/helpers.js";
import type { HostileCase, Table } from "./runner.js";

const data = new Uint8Array(16).fill(7);
const goodPickle = pickle(dictOf(tensor()));

/** A case of one file that `openWeights` must refuse. */
export function weightsCase(
  name: string,
  build: () => Uint8Array | string,
  message: RegExp,
  file = "model.pt",
): HostileCase {
  return {
    name,
    message,
    open: openWeights,
    make: (folder) => {
      writeFileSync(join(folder, file), build());
      return join(folder, file);
    },
  };
}

/** The members of a good archive, with one of them changed. */
function members(change: Partial<Record<"pickle" | "storage", Partial<Member>>> = {}): Member[] {
  return [
    { name: "archive/data.pkl", data: goodPickle, ...change.pickle },
    { name: "archive/data/0", data, ...change.storage },
    { name: "archive/version", data: Buffer.from("3\n") },
  ];
}

type Row = readonly [name: string, build: () => Uint8Array, message: RegExp];

const CONTAINERS: readonly Row[] = [
  [
    "a deflated member",
    () => zip(members({ storage: { method: 8, data: deflateRawSync(data) } })),
    /compression method 8/,
  ],
  ["an encrypted member", () => zip(members({ storage: { flags: 0x1 } })), /an encrypted one/],
  ["a strongly encrypted member", () => zip(members({ storage: { flags: 0x41 } })), /an encrypted one/],
  ["a masked directory", () => zip(members({ storage: { flags: 0x2000 } })), /an encrypted one/],
  ["patched data", () => zip(members({ storage: { flags: 0x20 } })), /got flags 0x20/],
  [
    "another name in the local header",
    () => zip(members({ pickle: { localName: "archive/evil.pkl" } })),
    /the same name in the zip member's own header, got "archive\/evil.pkl"/,
  ],
  [
    "other flags in the local header",
    () => zip(members({ storage: { localFlags: 0x1 } })),
    /the same flags and method/,
  ],
  [
    "another size in the local header",
    () => zip(members({ storage: { localSize: 8 } })),
    /expected 16 bytes in the zip member's own header, got 8/,
  ],
  [
    "a stored member of two sizes",
    () => zip(members({ storage: { compressedSize: 8 } })),
    /expected 16 stored bytes, got 8/,
  ],
  [
    "a member that reaches into the next",
    () => zip(members({ storage: { size: 40, localSize: 40 } })),
    /that do not overlap/,
  ],
  [
    "a member that reaches into the directory",
    () => zip([...members(), { name: "archive/x", data, size: 999 }]),
    /data before the zip directory/,
  ],
  [
    "two members at one place",
    () => zip(members({ storage: { name: "archive/data.pkl", offset: 0 } })),
    /do not overlap/,
  ],
  [
    "a member of 4 GB that is not there",
    () => zip(members({ storage: { size: 0xfffffffe, localSize: 0xfffffffe } })),
    /do not overlap|zip directory/,
  ],
  [
    "a header offset beyond the file",
    () => zip(members({ storage: { offset: 0x7fffffff } })),
    /archive\/data\/0: expected 44 bytes at offset 2147483647/,
  ],
  [
    "a header offset at no header",
    () => zip(members({ storage: { offset: 300 } })),
    /expected a zip member at offset 300|do not overlap/,
  ],
  [
    "a name given twice",
    () => zip([...members(), { name: "archive/data.pkl", data: goodPickle }]),
    /one zip member of this name, got two/,
  ],
  [
    "two folders",
    () => zip([...members(), { name: "other/data.pkl", data: goodPickle }]),
    /with one folder, got archive\/data.pkl/,
  ],
  ["members outside a folder", () => zip([{ name: "data.pkl", data: goodPickle }]), /with one folder, got data.pkl/],
  [
    "a path out of the archive",
    () => zip([...members(), { name: "archive/../../etc/passwd", data }]),
    /plain zip member name/,
  ],
  ["an absolute path", () => zip([...members(), { name: "/etc/passwd", data }]), /a relative zip member name/],
  ["a drive", () => zip([...members(), { name: "C:/x", data }]), /plain zip member name/],
  ["backslashes", () => zip([...members(), { name: "archive\\x", data }]), /plain zip member name/],
  ["a name cut by NUL", () => zip([...members(), { name: "archive/data.pkl\0.txt", data }]), /plain zip member name/],
  ["an empty name", () => zip([...members(), { name: "", data }]), /a relative zip member name/],
  ["constants.pkl", () => zip([...members(), { name: "archive/constants.pkl", data }]), /a TorchScript program/],
  ["code", () => zip([...members(), { name: "archive/code/x.py", data }]), /a TorchScript program/],
  ["no data.pkl", () => zip([{ name: "archive/other", data }]), /with data.pkl, got archive\/other/],
  ["no members", () => zip([]), /an empty zip/],
  ["more members than it has", () => zip(members(), { count: 9 }), /9 (zip )?members/],
  [
    "fewer members than it has",
    () => zip(members(), { count: 2 }),
    /expected 2 members in the zip directory, got more/,
  ],
  ["a directory elsewhere", () => zip(members(), { directoryOffset: 5 }), /expected the zip directory to end at/],
  [
    "bytes in front",
    () => Buffer.concat([Buffer.from("PK\x03\x04 polyglot"), zip(members())]),
    /expected the zip directory to end at/,
  ],
  ["bytes behind", () => Buffer.concat([zip(members()), Buffer.from("tail")]), /one without its end/],
  [
    "a wrong checksum of the pickle",
    () => zip(members({ pickle: { crc: 1 } })),
    /data.pkl: expected CRC-32 1, got .* \(damaged\?\)/,
  ],
  [
    "an unknown version",
    () => archive(goodPickle, [data]).map((byte, i, all) => (byte === 0x33 && all[i + 1] === 0x0a ? 0x30 : byte)),
    /version: expected 1 to 10/,
  ],

  [
    "a deflated pickle that unpacks to a gigabyte",
    () => zip(members({ pickle: { method: 8, data: deflateRawSync(Buffer.alloc(1 << 20)), size: 1 << 30 } })),
    /compression method 8|stored bytes/,
  ],
  [
    "a pickle member of 17 MB",
    () => zip(members({ pickle: { data: Buffer.alloc(17 << 20), crc: 0 } })),
    /data.pkl: expected at most 16777216 bytes of pickle/,
  ],
  [
    "a directory of 5 MB",
    () => {
      const centralExtra = Buffer.alloc(60_000);
      const many = Array.from({ length: 84 }, (_, i) => ({
        name: `archive/${i}`,
        data: Buffer.alloc(0),
        centralExtra,
      }));
      return zip([...members(), ...many]);
    },
    /a zip directory of at most 4194304 bytes/,
  ],
  [
    "a local header that hides another pickle",
    () => zip(members({ pickle: { localExtra: goodPickle, localSize: 1 } })),
    /zip member's own header, got 1/,
  ],
  [
    "a second archive inside the first",
    () => Buffer.concat([zip(members()), zip(members())]),
    /expected the zip directory to end at/,
  ],
  ["a 7z archive called .pt", () => Buffer.from("7z\xbc\xaf\x27\x1c\0\x04", "latin1"), /a 7z archive/],
  [
    "a script in front of the archive",
    () => Buffer.concat([Buffer.from("#!/bin/sh\n"), zip(members())]),
    /got a program/,
  ],
  [
    "a safetensors file called .pt that is none",
    () => Buffer.from("\x08\0\0\0\0\0\0\0{       ", "latin1"),
    /expected a header in JSON/,
  ],
  [
    "a name of 60,000 characters",
    () => zip([...members(), { name: `archive/${"a".repeat(60_000)}\n`, data }]),
    /plain zip member name/,
  ],
  [
    "names that are not UTF-8",
    () => zip(members()).map((byte, i, all) => (all.subarray(i, i + 7).toString() === "version" ? 0xff : byte)),
    /plain zip member name|version|zip member/,
  ],
];

const sixteen = new Uint8Array(16);
const max = Buffer.alloc(8, 0xff);
max[7] = 0x7f;
const huge = Buffer.concat([Buffer.from([0x8a, 8]), max]); // 2^63 - 1
const two53 = Buffer.from([0x8a, 7, 1, 0, 0, 0, 0, 0, 0x20]); // 2^53 + 1
const float = Buffer.from([0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]); // 1.5
const nan = Buffer.from([0x47, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0]);
const one = (value: Uint8Array): Buffer => Buffer.concat([value, Buffer.from([0x85])]);
const minus = Buffer.from([0x4a, 0xff, 0xff, 0xff, 0xff]);
const zero = Buffer.from([0x4b, 0]);

const LIES: readonly (readonly [string, Parameters<typeof tensor>[0], RegExp])[] = [
  [
    "a storage longer than its record",
    { elements: Buffer.from([0x4b, 5]) },
    /weight: expected 16 bytes in storage 0, got 5 elements/,
  ],
  ["a storage shorter than its record", { elements: Buffer.from([0x4b, 3]) }, /weight: expected 16 bytes in storage 0/],
  ["a storage of negative length", { elements: minus }, /weight: expected a whole storage length, got -1/],
  ["a storage of 2^63 elements", { elements: huge }, /weight: expected a whole storage length/],
  [
    "a storage of another type",
    { type: Buffer.from("ctorch\nDoubleStorage\n") },
    /weight: expected 16 bytes in storage 0/,
  ],
  [
    "a storage that does not exist",
    { key: Buffer.from("X\x01\0\0\x009", "latin1") },
    /weight: expected a storage "9" in the archive, got none/,
  ],
  [
    "a storage elsewhere in the archive",
    { key: Buffer.from("X\x0a\0\0\0../version", "latin1") },
    /expected a storage "..\/version"/,
  ],
  [
    "an offset beyond the storage",
    { offset: Buffer.from([0x4b, 1]) },
    /weight: expected a tensor within its storage of 16 bytes, got an end at 20/,
  ],
  ["a negative offset", { offset: minus }, /weight: expected a whole storage offset, got -1/],
  ["a fractional offset", { offset: float }, /weight: expected a whole storage offset, got 1.5/],
  ["an offset that a double cannot hold", { offset: two53 }, /weight: expected a whole storage offset/],
  [
    "a size beyond the storage",
    { size: one(Buffer.from([0x4b, 5])), stride: one(Buffer.from([0x4b, 1])) },
    /within its storage/,
  ],
  [
    "strides beyond the storage",
    { stride: Buffer.from([0x4b, 4, 0x4b, 1, 0x86]) },
    /within its storage of 16 bytes, got an end at 24/,
  ],
  [
    "a size whose product overflows",
    { size: Buffer.from([...huge.map(Number), ...huge, 0x86]) },
    /a shape of whole numbers/,
  ],
  ["a size of 2^53 + 1", { size: one(two53), stride: one(zero) }, /a shape of whole numbers/],
  ["a negative size", { size: one(minus), stride: one(zero) }, /weight: expected a shape of whole numbers/],
  ["a fractional size", { size: one(float), stride: one(zero) }, /weight: expected a shape of whole numbers/],
  [
    "a boolean size",
    { size: one(Buffer.from([0x88])), stride: one(zero) },
    /weight: expected a shape of whole numbers/,
  ],
  [
    "negative strides",
    { stride: Buffer.concat([minus, minus, Buffer.from([0x86])]) },
    /weight: expected 2 strides, got others/,
  ],
  ["fewer strides than sizes", { stride: one(zero) }, /weight: expected 2 strides, got others/],
  ["a size that is no tuple", { size: zero }, /weight: expected a shape of whole numbers/],
  [
    "a dtype of another size",
    {
      rebuild: Buffer.from("ctorch._utils\n_rebuild_tensor_v3\n"),
      tail: Buffer.from("\x89Nctorch\nfloat64\n", "latin1"),
    },
    /weight: expected the dtype of torch.FloatStorage, got torch.float64/,
  ],
  ["no storage", { id: Buffer.from("Nctorch\nSize\n") }, /a reference to a storage/],

  ["a size of NaN", { size: one(nan), stride: one(zero) }, /weight: expected a shape of whole numbers/],
  ["an offset of NaN", { offset: nan }, /weight: expected a whole storage offset, got NaN/],
  ["strides that overflow", { stride: bytes(long(2n ** 52n), long(2n ** 52n), "\x86") }, /within its storage/],
  ["an offset that overflows", { offset: long(2n ** 52n) }, /within its storage/],
  [
    "sizes whose product is beyond 2^53",
    { size: bytes(int(2 ** 30), int(2 ** 30), "\x86"), stride: bytes("K\0K\0\x86") },
    /within its storage/,
  ],
  [
    "65 axes",
    { size: bytes("(", "K\x01".repeat(65), "t"), stride: bytes("(", "K\x01".repeat(65), "t") },
    /weight: expected a shape of whole numbers/,
  ],
  ["a storage name of a megabyte", { key: text("k".repeat(1 << 20)) }, /expected a storage "k{80}" in the archive/],
  ["a dict as size", { size: bytes("}"), stride: bytes("}") }, /weight: expected a shape of whole numbers/],
  [
    "a location that is a name",
    {
      id: bytes("(", text("storage"), global("torch", "FloatStorage"), text("0"), global("os", "system"), int(4), "t"),
    },
    /not on the allow-list/,
  ],
];

const state =
  (...parts: readonly (string | Uint8Array)[]): (() => Buffer) =>
  () =>
    archive(pickle(...parts), [sixteen]);

const VALUES: readonly Row[] = [
  ["a value without tensors", state("}"), /expected a dict of tensors, got none/],
  ["a single tensor", state(tensor()), /got a single tensor/],
  [
    "a name given twice",
    state("}", text("a.b"), tensor(), "s", text("a"), "}", text("b"), tensor(), "ss"),
    /a\.b: expected one tensor of this name, got two/,
  ],
  [
    "a name of a megabyte over many tensors",
    state("}", text("a".repeat(1 << 20)), "}", text("b"), tensor(), "ss"),
    /a{64}\.\.\.: expected a name of at most 512 characters/,
  ],
  ["a dict that holds itself", state("}q\x00", text("state_dict"), "h\x00s"), /nested values, got more \(a cycle\?\)/],
  [
    "a big-endian file",
    () =>
      Buffer.from(
        archive(pickle(dictOf(tensor())), [sixteen])
          .toString("latin1")
          .replaceAll("little", "biggie"),
        "latin1",
      ),
    /byteorder: expected little, got "biggie"/,
  ],
  [
    "a name with an escape sequence",
    state(
      dictOf(tensor({ offset: minus }))
        .toString("latin1")
        .replace("weight", "a\n\x1b[2J"),
    ),
    /a \\x1b\[2J: expected a whole storage offset|storage offset/,
  ],
];

/** What `openWeights` must refuse of PyTorch archives. */
export const TORCH: Table = {
  title: "torch.save",
  cases: [
    ...[...CONTAINERS, ...VALUES].map(([name, build, message]) => weightsCase(name, build, message)),
    ...LIES.map(([name, parts, message]) =>
      weightsCase(name, () => archive(pickle(dictOf(tensor(parts))), [sixteen]), message),
    ),
  ],
};
