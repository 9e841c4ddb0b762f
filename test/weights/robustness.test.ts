/** @file Files cut short at every byte, files with random damage, and files far larger than memory should ever hold. */

import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { ModelError } from "#laurel/errors";
import { byteSize } from "#laurel/tensor/dtype";
import { elementCount } from "#laurel/tensor/tensor";
import { openWeights } from "#laurel/weights/open";
import type { WeightSource } from "#laurel/weights/types";
import { describe, expect, it } from "vitest";
import type { Member } from "./helpers.js";
import {
  archive,
  bytes,
  dictOf,
  fixture,
  global,
  int,
  long,
  pickle,
  temporaryFolder,
  tensor,
  text,
  uint32,
  writeTemporary,
  zip,
} from "./helpers.js";

const folder = temporaryFolder();
const GIGABYTE = 2 ** 30;

/** A damaged file may only be refused with a ModelError, or give entries that lie within the file. */
async function attempt(path: string): Promise<"refused" | "opened"> {
  let source: WeightSource;
  try {
    source = await openWeights(path);
  } catch (error) {
    if (error instanceof ModelError && error.message.startsWith(path)) return "refused";
    throw error;
  }
  const { size } = statSync(path);
  for (const { name, dtype, shape, offset, length } of source.entries.values()) {
    const sound = length === elementCount(shape) * byteSize(dtype) && offset >= 0 && offset + length <= size;
    if (!sound) throw new Error(`${name} lies outside of the file`);
  }
  return "opened";
}

describe("a file cut short", () => {
  it.each(["dtypes.safetensors", "no-crc.pt", "module.legacy.pt"])("at any byte is refused: %s", async (name) => {
    const path = join(folder, name);
    const whole = readFileSync(fixture(name));
    writeFileSync(path, whole);
    expect(await attempt(path)).toBe("opened");
    const accepted: number[] = [];
    for (let length = whole.length - 1; length >= 0; length--) {
      truncateSync(path, length);
      if ((await attempt(path)) !== "refused") accepted.push(length);
    }
    expect(accepted).toEqual([]);
  });

  it("within the pickle of an intact archive is refused", async () => {
    const whole = pickle(dictOf(tensor()));
    for (let length = 0; length < whole.length; length++) {
      const path = writeTemporary(folder, archive(whole.subarray(0, length), [new Uint8Array(16)]), "cut.pt");
      expect(await attempt(path), `${length} bytes`).toBe("refused");
    }
  });
});

describe("random damage", () => {
  it.each(["dtypes.safetensors", "special.pt", "wrapped.legacy.pt", "views.pt"])(
    "to %s is refused, or leaves entries within the file",
    async (name) => {
      const whole = readFileSync(fixture(name));
      const path = join(folder, `fuzzed-${name}`);
      const change = fc.record({
        at: fc.nat(whole.length - 1),
        value: fc.oneof(fc.nat(255), fc.constantFrom(0, 0x2e, 0x80, 0xff)),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
          const damaged = Buffer.from(whole);
          for (const { at, value } of changes) damaged[at] = value;
          writeFileSync(path, damaged);
          await attempt(path);
        }),
        { seed: 20, numRuns: 120 },
      );
    },
  );

  it("in the form of random pickle programs is refused, or leaves entries within the file", async () => {
    const opcode = fc.constantFrom(
      ...[
        "}",
        "]",
        ")",
        "(",
        "t",
        "\x85",
        "\x86",
        "\x87",
        "s",
        "u",
        "a",
        "e",
        "b",
        "R",
        "Q",
        "N",
        "\x88",
        "q\x00",
        "q\x01",
        "h\x00",
        "h\x01",
      ].map((code) => bytes(code)),
      ...[
        text("storage"),
        text("weight"),
        text("0"),
        text("state_dict"),
        int(4),
        int(-1),
        long(2n ** 63n),
        bytes("r", uint32(0xffffffff)),
      ],
      ...[
        global("collections", "OrderedDict"),
        global("torch", "FloatStorage"),
        global("torch._utils", "_rebuild_tensor_v2"),
        global("torch", "Size"),
      ],
      ...[
        tensor(),
        dictOf(tensor()),
        bytes("(", text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), int(4), "tQ"),
      ],
    );
    const path = join(folder, "program.pt");
    await fc.assert(
      fc.asyncProperty(fc.array(opcode, { maxLength: 30 }), async (program) => {
        writeFileSync(path, archive(pickle(...program), [new Uint8Array(16)]));
        await attempt(path);
      }),
      { seed: 20, numRuns: 300 },
    );
  });

  it("in the form of random bytes behind a good beginning is refused", async () => {
    const path = join(folder, "random.bin");
    const beginning = fc.constantFrom(
      "",
      "PK\x03\x04",
      "PK\x05\x06",
      "\x80\x02",
      "\x10\0\0\0\0\0\0\0{",
      "\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
    );
    await fc.assert(
      fc.asyncProperty(beginning, fc.uint8Array({ maxLength: 200 }), async (start, rest) => {
        writeFileSync(path, bytes(start, rest));
        expect(await attempt(path)).toBe("refused");
      }),
      { seed: 20, numRuns: 120 },
    );
  });
});

describe("a file of a gigabyte", () => {
  const shape = bytes(int(GIGABYTE / 4), "\x85");
  const large = (): Buffer =>
    pickle(dictOf(tensor({ elements: int(GIGABYTE / 4), size: shape, stride: bytes("K\x01\x85") })));

  function sparseSafetensors(path: string): void {
    const tensors = 4096;
    const each = GIGABYTE / tensors;
    const infos = Array.from(
      { length: tensors },
      (_, i) =>
        `"block.${i}.weight":{"dtype":"F16","shape":[${each / 2}],"data_offsets":[${i * each},${(i + 1) * each}]}`,
    );
    const header = Buffer.from(`{${infos.join(",")}}`);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeSparse(path, [length, header, GIGABYTE]);
  }

  function sparseZip(path: string): void {
    const members: Member[] = [
      { name: "archive/data.pkl", data: large() },
      { name: "archive/data/0", data: new Uint8Array(0), crc: 0, size: GIGABYTE },
    ];
    const small = zip(members);
    const directory = small.readUInt32LE(small.length - 6);
    small.writeUInt32LE(directory + GIGABYTE, small.length - 6);
    writeSparse(path, [small.subarray(0, directory), GIGABYTE, small.subarray(directory)]);
  }

  function sparseLegacy(path: string): void {
    const count = Buffer.alloc(8);
    count.writeBigInt64LE(BigInt(GIGABYTE / 4));
    const keys = pickle("]", text("0"), "a");
    const system = pickle("}", text("little_endian"), "\x88s");
    writeSparse(path, [
      pickle(long(0x1950a86a20f9469cfc6cn)),
      pickle("M\xe9\x03"),
      system,
      large(),
      keys,
      count,
      GIGABYTE,
    ]);
  }

  it.each([
    ["safetensors", sparseSafetensors, 4096],
    ["PyTorch zip", sparseZip, 1],
    ["PyTorch legacy", sparseLegacy, 1],
  ] as const)("opens in under a second and 20 MB of memory: %s", async (name, write, count) => {
    const path = join(folder, `large-${name.replaceAll(" ", "-")}`);
    write(path);
    expect(statSync(path).size).toBeGreaterThan(GIGABYTE);
    const before = process.memoryUsage();
    const start = process.cpuUsage();
    const { entries } = await openWeights(path);
    const { user, system } = process.cpuUsage(start); // not the time passed, which depends on what else runs
    const after = process.memoryUsage();
    expect(entries.size).toBe(count);
    expect(after.heapUsed - before.heapUsed).toBeLessThan(20e6);
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(20e6);
    expect((user + system) / 1000).toBeLessThan(1000);
  });
});

/** Writes buffers, and holes for numbers. */
function writeSparse(path: string, parts: readonly (Buffer | number)[]): void {
  const file = openSync(path, "w");
  let position = 0;
  for (const part of parts) {
    if (typeof part !== "number") writeSync(file, part, 0, part.length, position);
    position += typeof part === "number" ? part : part.length;
  }
  ftruncateSync(file, position);
  closeSync(file);
}
