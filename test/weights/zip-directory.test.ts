/** @file Zip archives that lie, hide or contradict themselves are refused. */

import { describe, expect, it } from "vitest";
import { readFileSync } from "node:fs";
import { openWeights } from "#laurel/weights/open";
import type { Member } from "./helpers.js";
import { dictOf, expectRefusal, fixture, pickle, temporaryFolder, tensor, writeTemporary, zip } from "./helpers.js";

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
