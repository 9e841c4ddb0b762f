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
      expect(unusable.get("transposed")).toBe("a transposed or sliced view, strides [1,4]; save it with .contiguous()");
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
  const one = (value: Uint8Array): Buffer => Buffer.concat([value, Buffer.from([0x85])]);
  const zero = Buffer.from([0x4b, 0]);

  it("accepts the honest one", async () => {
    const path = writeTemporary(folder, archive(pickle(dictOf(tensor())), [sixteen]));
    expect((await openWeights(path)).entries.get("weight")).toMatchObject({
      shape: [2, 2],
      length: 16,
      dtype: "float32",
    });
  });

  it("refuses a million-fold expanded view as a weight, and does not allocate it", async () => {
    const million = Buffer.from([0x4a, 0, 0, 0, 0x40, 0x85]);
    const lie = tensor({ size: million, stride: one(zero) });
    const source = await openWeights(writeTemporary(folder, archive(pickle(dictOf(lie)), [sixteen])));
    await expect(source.read("weight")).rejects.toThrow("an expanded view");
  });
});
