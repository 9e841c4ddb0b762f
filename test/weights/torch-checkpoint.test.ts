/** @file Checkpoints written by PyTorch, zip and legacy, give the tensors PyTorch sees; what torch.load should refuse is refused. */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { openWeights } from "#laurel/weights/open";
import { describe, expect, it } from "vitest";
import {
  archive,
  dictOf,
  expectRefusal,
  expectedFiles,
  fixture,
  pickle,
  temporaryFolder,
  tensor,
  writeTemporary,
} from "./helpers.js";

const files = expectedFiles();
const folder = temporaryFolder();

describe("checkpoints written by torch.save and safetensors", () => {
  it.each([...files.keys()])("%s holds the same names, dtypes, shapes and values", async (file) => {
    const source = await openWeights(fixture(file));
    const expected = files.get(file)!;
    expect([...source.entries.keys(), ...source.unusable.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [name, { dtype, shape, data }] of expected) {
      const tensor = await source.read(name);
      expect({ name, dtype: tensor.dtype, shape: tensor.shape }).toEqual({ name, dtype, shape });
      const actual = Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
      expect(actual.toString("base64"), name).toBe(data);
    }
  });

  it.each([...files.keys()])("%s: an entry's bytes lie in place in the file", async (file) => {
    const source = await openWeights(fixture(file));
    for (const entry of source.entries.values()) {
      expect(entry.file).toBe(resolve(entry.file));
      const bytes = readFileSync(entry.file).subarray(entry.offset, entry.offset + entry.length);
      expect(bytes.toString("base64"), entry.name).toBe(files.get(file)!.get(entry.name)!.data);
    }
  });

  it("uses slices in place, and reads transposed views without offering them in place", async () => {
    for (const file of ["views.pt", "views.legacy.pt"]) {
      const { entries, unusable } = await openWeights(fixture(file));
      expect([...entries.keys()].sort()).toEqual(["base", "element", "empty", "row", "rows", "unit"]);
      expect(unusable.get("transposed")).toBe(
        "a transposed or sliced view, strides [1,4]; save it with .contiguous()",
      );
      expect(entries.get("rows")!.offset - entries.get("base")!.offset).toBe(2 * 4 * 4);
    }
  });

  it("names the dtypes and views it cannot use, and the usable rest stays usable", async () => {
    const source = await openWeights(fixture("unusable.pt"));
    expect([...source.entries.keys()]).toEqual(["usable"]);
    expect(Object.fromEntries(source.unusable)).toEqual({
      u16: "dtype torch.uint16",
      f8: "dtype torch.float8_e4m3fn",
      complex: "dtype torch.complex64",
      i16: "dtype torch.int16",
      conjugate: "dtype torch.complex64",
      expanded: "an expanded view, strides [0]",
    });
    await expect(source.read("f8")).rejects.toThrow("expected a tensor Laurel can read, got dtype torch.float8_e4m3fn");
  });

  it("says where a wrapped state dict lay", async () => {
    expect((await openWeights(fixture("wrapped.pt"))).description).toBe(
      `PyTorch checkpoint ${fixture("wrapped.pt")}, state_dict`,
    );
  });

  it("names the closest tensor when one is asked for that is not there", async () => {
    const source = await openWeights(fixture("wrapped.pt"));
    await expect(source.read("net.0.weigth")).rejects.toThrow(
      /expected a tensor net.0.weigth, got none.*closest is net.0.weight/,
    );
  });
});

describe("files torch.save writes that hold more than tensors", () => {
  it("refuses a whole module, naming the class", () =>
    expectRefusal(
      fixture("whole-module.pt"),
      /"torch.nn.modules.linear.Linear", which is not on the allow-list; save a state_dict/,
    ));

  it("refuses a TorchScript program", () => expectRefusal(fixture("torchscript.pt"), /got a TorchScript program/));

  it("refuses NumPy values", () => expectRefusal(fixture("numpy.pt"), /numpy\S*scalar.*not on the allow-list/));
});

describe("tensors that lie about their bytes", () => {
  const sixteen = new Uint8Array(16);
  const max = Buffer.alloc(8, 0xff);
  max[7] = 0x7f;
  const huge = Buffer.concat([Buffer.from([0x8a, 8]), max]); // 2^63 - 1
  const two53 = Buffer.from([0x8a, 7, 1, 0, 0, 0, 0, 0, 0x20]); // 2^53 + 1
  const float = Buffer.from([0x47, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]); // 1.5
  const one = (value: Uint8Array): Buffer => Buffer.concat([value, Buffer.from([0x85])]);
  const minus = Buffer.from([0x4a, 0xff, 0xff, 0xff, 0xff]);
  const zero = Buffer.from([0x4b, 0]);

  it("accepts the honest one", async () => {
    const path = writeTemporary(folder, archive(pickle(dictOf(tensor())), [sixteen]));
    expect((await openWeights(path)).entries.get("weight")).toMatchObject({
      shape: [2, 2],
      length: 16,
      dtype: "float32",
    });
  });

  const lies: [string, Parameters<typeof tensor>[0], RegExp][] = [
    [
      "a storage longer than its record",
      { elements: Buffer.from([0x4b, 5]) },
      /weight: expected 16 bytes in storage 0, got 5 elements/,
    ],
    [
      "a storage shorter than its record",
      { elements: Buffer.from([0x4b, 3]) },
      /weight: expected 16 bytes in storage 0/,
    ],
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
  ];
  it.each(lies)("refuses %s", async (_, parts, message) => {
    await expectRefusal(writeTemporary(folder, archive(pickle(dictOf(tensor(parts))), [sixteen])), message);
  });

  it("refuses a million-fold expanded view as a weight, and does not allocate it", async () => {
    const million = Buffer.from([0x4a, 0, 0, 0, 0x40, 0x85]);
    const lie = tensor({ size: million, stride: one(zero) });
    const source = await openWeights(writeTemporary(folder, archive(pickle(dictOf(lie)), [sixteen])));
    await expect(source.read("weight")).rejects.toThrow("an expanded view");
  });

  it("refuses a big-endian file", async () => {
    const members = archive(pickle(dictOf(tensor())), [sixteen]);
    const text = members.toString("latin1").replaceAll("little", "biggie");
    // the CRC of `byteorder` is not looked at: the word is refused as it stands
    await expectRefusal(
      writeTemporary(folder, Buffer.from(text, "latin1")),
      /byteorder: expected little, got "biggie"/,
    );
  });

  it("refuses values without tensors, single tensors and names given twice", async () => {
    await expectRefusal(writeTemporary(folder, archive(pickle("}"))), /expected a dict of tensors, got none/);
    await expectRefusal(writeTemporary(folder, archive(pickle(tensor()), [sixteen])), /got a single tensor/);
    const twice = Buffer.concat([
      Buffer.from("}"),
      textOf("a.b"),
      tensor(),
      Buffer.from("s"),
      textOf("a"),
      Buffer.from("}"),
      textOf("b"),
      tensor(),
      Buffer.from("ss"),
    ]);
    await expectRefusal(
      writeTemporary(folder, archive(pickle(twice), [sixteen])),
      /a.b: expected one tensor of this name, got two/,
    );
  });
});

function textOf(value: string): Buffer {
  return Buffer.from(`X${String.fromCharCode(value.length)}\0\0\0${value}`, "latin1");
}
