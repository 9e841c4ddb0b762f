/** @file Zip archives that lie, hide or contradict themselves are refused. */

import { describe, expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import { openWeights } from "#laurel/weights/open";
import type { Member } from "./helpers.js";
import {
  archive,
  dictOf,
  expectRefusal,
  fixture,
  pickle,
  temporaryFolder,
  tensor,
  writeTemporary,
  zip,
} from "./helpers.js";

const folder = temporaryFolder();
const data = new Uint8Array(16).fill(7);
const goodPickle = pickle(dictOf(tensor()));

/** The members of a good archive, with one of them changed. */
function members(change: Partial<Record<"pickle" | "storage", Partial<Member>>> = {}): Member[] {
  return [
    { name: "archive/data.pkl", data: goodPickle, ...change.pickle },
    { name: "archive/data/0", data, ...change.storage },
    { name: "archive/version", data: Buffer.from("3\n") },
  ];
}

async function refuse(archiveBytes: Uint8Array, message: RegExp): Promise<void> {
  await expectRefusal(writeTemporary(folder, archiveBytes), message);
}

describe("readZipDirectory", () => {
  it("finds data behind extra fields that only the local header has, as PyTorch pads it", async () => {
    const padded = zip(members({ storage: { localExtra: Buffer.from("FB\x05\0ZZZZZ", "latin1") } }));
    const { entries } = await openWeights(writeTemporary(folder, padded));
    const { offset, length } = entries.get("weight")!;
    expect(padded.subarray(offset, offset + length)).toEqual(Buffer.from(data));
  });

  it("reads sizes that follow the data (flag bit 3)", async () => {
    const streamed = zip(members({ storage: { flags: 0x8, localSize: 0 } }));
    expect((await openWeights(writeTemporary(folder, streamed))).entries.get("weight")!.length).toBe(16);
  });

  it("reads zip64 sizes and ends", async () => {
    const extra = Buffer.alloc(12 + 8);
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(16, 2);
    extra.writeBigUInt64LE(16n, 4);
    extra.writeBigUInt64LE(16n, 12);
    const large = toZip64(zip(members({ storage: { size: 0xffffffff, localSize: 0xffffffff, centralExtra: extra } })));
    expect((await openWeights(writeTemporary(folder, large))).entries.get("weight")!.length).toBe(16);
  });

  it("refuses zip64 ends that contradict the 32-bit ones", async () => {
    const lie = toZip64(zip(members()), { keepSmall: true });
    lie.writeUInt32LE(lie.readUInt32LE(lie.length - 6) - 1, lie.length - 6);
    await refuse(lie, /expected the two ends of the zip64 archive to agree/);
    const far = toZip64(zip(members()));
    far.writeBigUInt64LE(2n ** 60n, far.length - 22 - 20 + 8);
    await refuse(far, /expected an offset within the file, got 1152921504606846976/);
    const elsewhere = toZip64(zip(members()));
    elsewhere.writeBigUInt64LE(0n, elsewhere.length - 22 - 20 + 8);
    await refuse(elsewhere, /expected the zip64 end record at offset 0/);
  });

  it("refuses zip64 sizes that are missing or beyond 2^53", async () => {
    await refuse(zip(members({ storage: { size: 0xffffffff } })), /data\/0: expected a zip64 size, got none/);
    const extra = Buffer.alloc(20, 0xff);
    extra.writeUInt16LE(1, 0);
    extra.writeUInt16LE(16, 2);
    await refuse(
      zip(members({ storage: { size: 0xffffffff, centralExtra: extra } })),
      /expected an offset within the file/,
    );
  });

  const lies: [string, () => Uint8Array, RegExp][] = [
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
  ];
  it.each(lies)("refuses %s", async (_, build, message) => {
    await refuse(build(), message);
  });

  it("takes a comment behind the directory, even one that holds another end record", async () => {
    const commented = zip(members(), { comment: `PK\x05\x06${"\0".repeat(18)}` });
    await openWeights(writeTemporary(folder, commented)).then(
      ({ entries }) => expect(entries.size).toBe(1),
      // the hidden end record is found first; that it describes an empty archive is then refused
      (error: Error) => expect(error.message).toMatch(/zip directory to end|empty zip/),
    );
  });

  it("accepts every member PyTorch writes, wherever it lies", async () => {
    const file = readFileSync(fixture("dtypes.pt"));
    for (const entry of (await openWeights(fixture("dtypes.pt"))).entries.values()) {
      expect(entry.offset % 64, entry.name).toBe(0);
      expect(entry.offset + entry.length).toBeLessThan(file.length);
    }
  });
});

/** Adds the zip64 end record and locator; unless kept, the 32-bit fields become all ones. */
function toZip64(small: Buffer, { keepSmall = false } = {}): Buffer {
  const body = small.subarray(0, small.length - 22);
  const end = Buffer.from(small.subarray(small.length - 22));
  const large = Buffer.alloc(56);
  large.writeUInt32LE(0x06064b50, 0);
  large.writeBigUInt64LE(44n, 4);
  large.writeBigUInt64LE(BigInt(end.readUInt16LE(8)), 24);
  large.writeBigUInt64LE(BigInt(end.readUInt16LE(10)), 32);
  large.writeBigUInt64LE(BigInt(end.readUInt32LE(12)), 40);
  large.writeBigUInt64LE(BigInt(end.readUInt32LE(16)), 48);
  const locator = Buffer.alloc(20);
  locator.writeUInt32LE(0x07064b50, 0);
  locator.writeBigUInt64LE(BigInt(body.length), 8);
  locator.writeUInt32LE(1, 16);
  if (!keepSmall) {
    end.fill(0xff, 8, 20);
  }
  return Buffer.concat([body, large, locator, end]);
}
