/** @file Hostile pickles: nothing outside the allow-list is accepted, nothing is called, nothing hangs or fills memory. */

import { PickleFault, PickleTruncated, readPickle } from "#laurel/weights/pickle";
import type { PickleDict } from "#laurel/weights/pickle-values";
import { describe, expect, it } from "vitest";
import {
  bytes,
  expectRefusal,
  global,
  int,
  long,
  pickle,
  temporaryFolder,
  text,
  uint32,
  writeTemporary,
} from "./helpers.js";

const folder = temporaryFolder();

describe("names", () => {
  it("refuses to apply what is on the list only to be mentioned, and values that are no names", () => {
    for (const target of [
      global("torch", "FloatStorage"),
      global("torch", "Tensor"),
      global("torch", "float32"),
      text("os.system"),
      "N",
    ]) {
      expect(() => run(target, ")R")).toThrow("a function of the allow-list");
    }
    expect(() => run(global("collections", "OrderedDict"), "]R")).toThrow("a tuple of arguments");
    expect(() =>
      run(global("torch._tensor", "_rebuild_from_type_v2"), "(", global("torch", "Tensor"), "N)}tR"),
    ).toThrow("a rebuild function");
    const itself = global("torch._tensor", "_rebuild_from_type_v2");
    expect(() => run(itself, "(", itself, "N)}tR")).toThrow("a rebuild function");
    expect(() => run(global("torch._utils", "_rebuild_parameter"), "N\x89}\x87R")).toThrow("a tensor as arguments");
  });

  it("refuses names of any kind in the header of a legacy file, and a magic number that is computed", async () => {
    const magic = pickle(global("collections", "OrderedDict"), ")R");
    await expectRefusal(writeTemporary(folder, magic), /not on the allow-list/);
  });
});

describe("opcodes", () => {
  it.each([0, 1, 3, 4, 5, 255])("refuses protocol %d", (protocol) => {
    expect(() => readPickle(bytes("\x80", protocol, "}."), 0, { globals: true })).toThrow("a pickle of protocol 2");
  });

  it("takes lengths beyond the end for a file cut short, without allocating them", () => {
    for (const code of [
      bytes("X\xff\xff\xff\xff"),
      bytes("X\xff\xff\xff\x7fabc"),
      bytes("\x8a\xff\x01"),
      bytes("U\xff1"),
      "J\x00",
      "G\x00",
      "cos\nsys",
    ]) {
      expect(() => readPickle(bytes("\x80\x02", code), 0, { globals: true })).toThrow(PickleTruncated);
    }
  });

  it("reads integers of every width, negative and beyond 2^53", () => {
    const at = (code: Uint8Array): unknown => run(code);
    expect(at(int(-2))).toBe(-2);
    expect(at(bytes("K\xff"))).toBe(255);
    expect(at(bytes("M\xff\xff"))).toBe(65535);
    expect(at(bytes("\x8a\x00"))).toBe(0);
    expect(at(bytes("\x8a\x01\xff"))).toBe(-1);
    expect(at(bytes("\x8a\x02\xff\x00"))).toBe(255);
    expect(at(long(2n ** 70n))).toBe(2n ** 70n);
    expect(at(long(-(2n ** 70n)))).toBe(-(2n ** 70n));
  });

  it("keeps __proto__ an ordinary key", () => {
    const dict = run("}", text("__proto__"), "}", text("polluted"), "\x88ss") as PickleDict;
    expect([...dict.items.keys()]).toEqual(["__proto__"]);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("bombs", () => {
  it("does not build the text that _codecs.encode is asked to repeat", () => {
    const long = text("a".repeat(1_000_000));
    const again = bytes("h\x00h\x01h\x02\x86R");
    const code = bytes(
      "(",
      global("_codecs", "encode"),
      "q\x00",
      long,
      "q\x01",
      text("latin1"),
      "q\x02",
      Buffer.concat(Array<Buffer>(20_000).fill(again)),
      "t",
    );
    const before = process.memoryUsage();
    run(code);
    const after = process.memoryUsage();
    expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(100e6);
  });

  it("keeps memo entries under sparse indexes without filling the gaps", () => {
    const puts = Array.from({ length: 1000 }, (_, i) => bytes("r", uint32(0xffffffff - i * 4_000_000)));
    const before = process.memoryUsage().heapUsed;
    run("}", ...puts);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20e6);
  });
});

describe("streams", () => {
  it("gives every fault as a PickleFault with the byte it was found at", () => {
    expect(() => run("NN", "\xff")).toThrow(PickleFault);
    expect(() => run("NN", "\xff")).toThrow("pickle at byte 4:");
  });
});

function run(...code: readonly (string | Uint8Array)[]): unknown {
  return readPickle(pickle(...code), 0, { globals: true }).value;
}
