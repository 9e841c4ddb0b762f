/** @file safetensors: damaged headers are refused as the reference implementation refuses them; what is written reads back. */

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Tensor } from "#laurel/tensor/tensor";
import { float32, int64, tensor, zeros } from "#laurel/tensor/tensor";
import { openSafetensors, saveSafetensors } from "#laurel/weights/safetensors";
import { describe, expect, it } from "vitest";
import { fixture, temporaryFolder, writeTemporary } from "./helpers.js";

const folder = temporaryFolder();

function file(header: string, dataLength: number, claimed = Buffer.byteLength(header)): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed));
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(dataLength)]);
}

const info = (dtype: string, shape: string, begin: number | string, end: number | string): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${begin},${end}]}`;

describe("openSafetensors", () => {
  it("accepts padding behind the header, metadata, and an empty file of tensors", async () => {
    const path = writeTemporary(folder, file(`{"__metadata__":{"a":"b"},"x":${info("F32", "[]", 0, 4)}}   `, 4));
    const source = await openSafetensors(path);
    expect(Object.fromEntries(source.metadata)).toEqual({ a: "b" });
    expect(source.entries.get("x")).toMatchObject({ shape: [], length: 4 });
    expect((await openSafetensors(writeTemporary(folder, file("{}", 0)))).entries.size).toBe(0);
  });

  it("keeps dtypes Laurel does not use as names with their reason", async () => {
    const { entries, unusable } = await openSafetensors(fixture("unusable.safetensors"));
    expect([...entries.keys()]).toEqual(["usable"]);
    expect(Object.fromEntries(unusable)).toEqual({
      f8: "dtype F8_E5M2",
      u16: "dtype U16",
      u32: "dtype U32",
      complex: "dtype C64",
    });
  });
});

describe("saveSafetensors", () => {
  const tensors = new Map<string, Tensor>([
    ["flags", tensor("bool", [3], Uint8Array.of(1, 0, 1))],
    ["half", tensor("float16", [2], Uint16Array.of(0x3c00, 0x4000))],
    ["weight", float32([2, 2], [1, -2, 3.5, 4])],
    ["ids", int64([1], [2 ** 40])],
    ["scalar", float32([], [7])],
    ["empty", zeros("float32", [0, 3])],
    ["brain", tensor("bfloat16", [1], Uint16Array.of(0x3f80))],
    ['naïve "name"', tensor("int8", [1], Int8Array.of(-5))],
    ["__proto__", tensor("float64", [1], Float64Array.of(0.1))],
  ]);

  it("writes what it reads back, aligned for every element type", async () => {
    const path = join(folder, "written.safetensors");
    await saveSafetensors(path, tensors, { format: "pt", note: "naïve" });
    const source = await openSafetensors(path);
    expect(Object.fromEntries(source.metadata)).toEqual({ format: "pt", note: "naïve" });
    for (const [name, expected] of tensors) {
      expect(await source.read(name)).toEqual(expected);
      const { offset, length } = source.entries.get(name)!;
      expect(offset % Math.max(1, length / Math.max(1, expected.data.length)), name).toBe(0);
    }
    const firstData = Math.min(...[...source.entries.values()].map(({ offset }) => offset));
    expect(firstData % 8).toBe(0);
    expect(statSync(path).mode & 0o444).toBe(0o444 & ~process.umask());
  });

  it("gives equal bytes for equal content, whatever the order of the maps", async () => {
    const [a, b] = [join(folder, "a.safetensors"), join(folder, "b.safetensors")];
    await saveSafetensors(
      a,
      tensors,
      new Map([
        ["x", "1"],
        ["y", "2"],
      ]),
      { durable: true },
    );
    await saveSafetensors(b, new Map([...tensors].reverse()), { y: "2", x: "1" });
    expect(readFileSync(a).equals(readFileSync(b))).toBe(true);
  });

  it("copies a view out of a larger buffer, and nothing beside it", async () => {
    const path = join(folder, "view.safetensors");
    await saveSafetensors(path, new Map([["v", float32([2], new Float32Array([9, 1, 2, 9]).subarray(1, 3))]]));
    expect([...((await (await openSafetensors(path)).read("v")).data as Float32Array)]).toEqual([1, 2]);
  });

  it("refuses data that does not fit its shape, and the reserved name", async () => {
    const path = join(folder, "refused.safetensors");
    const wrong: Tensor = { dtype: "float32", shape: [3], data: new Float32Array(2) };
    await expect(saveSafetensors(path, new Map([["w", wrong]]))).rejects.toThrow("w: expected 3 elements, got 2");
    await expect(saveSafetensors(path, new Map([["__metadata__", zeros("float32", [1])]]))).rejects.toThrow(
      "the reserved __metadata__",
    );
  });

  it("says so when a file became shorter after it was opened", async () => {
    const path = join(folder, "shrinking.safetensors");
    await saveSafetensors(path, new Map([["w", zeros("float32", [4])]]));
    const source = await openSafetensors(path);
    writeTemporary(folder, readFileSync(path).subarray(0, -4), "shrinking.safetensors");
    await expect(source.read("w")).rejects.toThrow(/w: expected 16 bytes at offset \d+, got .*got 12/);
  });
});
