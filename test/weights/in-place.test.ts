/** @file ONNX Runtime computes with weights that stay in their checkpoint, reached through a Hugging Face cache's links. */

import { copyFileSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { add, conv, gemm, graph, input, parameter } from "#laurel/graph/builder";
import { openDevice } from "#laurel/runtime/device";
import { bfloat16ToFloat32, float16ToFloat32 } from "#laurel/tensor/half";
import type { Tensor } from "#laurel/tensor/tensor";
import { float32 } from "#laurel/tensor/tensor";
import { sha256 } from "#laurel/util/files";
import { openWeights } from "#laurel/weights/open";
import { resolveWeights } from "#laurel/weights/resolve";
import { saveSafetensors } from "#laurel/weights/safetensors";
import { afterAll, describe, expect, it } from "vitest";
import { bytes, fixture, int, long, pickle, temporaryFolder, tensor, text, writeTemporary } from "./helpers.js";

const folder = temporaryFolder();
const device = openDevice({ threads: 1 });
afterAll(() => device.close());

const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** Lays files out as the hub's cache does: content in blobs/, by its hash, and links in snapshots/. */
function hubCache(name: string, files: Readonly<Record<string, string>>): string {
  const repository = join(folder, `models--org--${name}`);
  const snapshot = join(repository, "snapshots", COMMIT);
  mkdirSync(join(repository, "blobs"), { recursive: true });
  for (const [path, source] of Object.entries(files)) {
    const blob = join(repository, "blobs", sha256(readFileSync(source)));
    const link = join(snapshot, path);
    copyFileSync(source, blob);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(relative(dirname(link), blob), link);
  }
  return snapshot;
}

function listing(path: string): string[] {
  return readdirSync(path, { recursive: true, encoding: "utf8" }).sort();
}

function toFloat32({ dtype, data }: Tensor): Float32Array {
  if (dtype === "float16") return float16ToFloat32(data as Uint16Array);
  if (dtype === "bfloat16") return bfloat16ToFloat32(data as Uint16Array);
  return data as Float32Array;
}

/** One program that returns every float tensor of a checkpoint, each added to zero, compared with what is read from the file. */
async function expectSameValues(path: string): Promise<number> {
  const source = await openWeights(path);
  const floats = [...source.entries].filter(
    ([, { dtype, shape }]) => /^(bfloat16|float16|float32)$/.test(dtype) && !shape.includes(0),
  );
  const zero = input("zero", "float32", []);
  const outputs = Object.fromEntries(
    floats.map(([name, { shape }], i) => [`y${i}`, add(parameter(name, shape), zero)]),
  );
  const network = graph("sum", outputs);
  const ignore = [...source.entries.keys(), ...source.unusable.keys()].filter((name) => !network.parameters.has(name));
  const weights = resolveWeights(network.parameters, source, {
    where: "sum",
    ignore: ignore.map((name) => new RegExp(`^${name}$`)),
  });
  const program = await device.compile(network, { weights });
  const result = await program.run({ zero: float32([], [0]) });
  for (const [i, [name]] of floats.entries()) {
    const expected = toFloat32(await source.read(name));
    expect([...(result[`y${i}`]!.data as Float32Array)], name).toEqual([...expected].map((value) => value + 0));
  }
  await program.dispose();
  return floats.length;
}

describe("weights in place", () => {
  it("are found through the cache's links, and nothing is written beside them", async () => {
    const source = join(folder, "plain.safetensors");
    await saveSafetensors(source, new Map([["w", float32([2, 3], [1, 2, 3, 4, 5, 6])]]));
    const snapshot = hubCache("linked", { "unet/diffusion_pytorch_model.safetensors": source });
    const before = listing(folder);
    const x = input("x", "float32", ["N", 3]);
    const network = graph("linear", { y: gemm(x, parameter("w", [2, 3]), undefined, { transB: true }) });
    const weights = resolveWeights(network.parameters, await openWeights(join(snapshot, "unet")), { where: "linear" });
    expect(weights.get("w")?.file).toBe(join(snapshot, "unet", "diffusion_pytorch_model.safetensors"));
    const program = await device.compile(network, { weights });
    const { y } = await program.run({ x: float32([1, 3], [1, 10, 100]) });
    expect([...(y!.data as Float32Array)]).toEqual([321, 654]);
    expect(listing(folder)).toEqual(before);
  });

  it.each([
    ["dtypes.safetensors", 5],
    ["dtypes.pt", 3],
    ["dtypes.legacy.pt", 3], // tensors at odd offsets
    ["views.pt", 5],
    ["views.legacy.pt", 5],
    ["special.pt", 5],
    ["module.legacy.pt", 6],
    ["wrapped.pt", 3],
  ])("have the same values inside of ONNX Runtime as outside: %s", async (name, count) => {
    const snapshot = hubCache(name, { [name]: fixture(name) });
    expect(await expectSameValues(join(snapshot, name))).toBe(count);
  });

  it.each([
    ["sharded-safetensors", "diffusion_pytorch_model", "safetensors"],
    ["sharded-bin", "pytorch_model", "bin"],
  ])("are found in shards that are links beside a linked index: %s", async (name, stem, extension) => {
    const parts = [
      `${stem}-00001-of-00002.${extension}`,
      `${stem}-00002-of-00002.${extension}`,
      `${stem}.${extension}.index.json`,
    ];
    const files = Object.fromEntries(parts.map((part) => [`unet/${part}`, join(fixture(name), part)]));
    expect(await expectSameValues(join(hubCache(name, files), "unet"))).toBe(4);
  });

  it("may begin at any byte, as in legacy checkpoints, for matrix products and convolutions too", async () => {
    const [out, channels] = [32, 16];
    const values = Float32Array.from({ length: out * channels * 9 }, (_, i) => ((i * 37) % 101) / 101 - 0.5);
    const x = input("x", "float32", ["N", channels, 8, 8]);
    const rows = input("rows", "float32", ["N", channels * 9]);
    const network = graph("odd", {
      y: conv(x, parameter("conv", [out, channels, 3, 3]), undefined, { pads: [1, 1, 1, 1] }),
      z: gemm(rows, parameter("linear", [out, channels * 9]), undefined, { transB: true }),
    });
    const aligned = join(folder, "aligned.safetensors");
    const weight = (shape: number[]): Tensor => float32(shape, values);
    await saveSafetensors(
      aligned,
      new Map([
        ["conv", weight([out, channels, 3, 3])],
        ["linear", weight([out, channels * 9])],
      ]),
    );
    const feeds = {
      x: float32(
        [2, channels, 8, 8],
        Float32Array.from({ length: 2 * channels * 64 }, (_, i) => Math.sin(i)),
      ),
      rows: float32(
        [2, channels * 9],
        Float32Array.from({ length: 2 * channels * 9 }, (_, i) => Math.cos(i)),
      ),
    };
    const run = async (path: string): Promise<unknown> => {
      const weights = resolveWeights(network.parameters, await openWeights(path), { where: "odd" });
      const program = await device.compile(network, { weights });
      return program.run(feeds);
    };
    const expected = await run(aligned);
    for (let shift = 0; shift < 4; shift++) {
      const path = legacyCheckpoint(values, out, channels, shift);
      const { entries } = await openWeights(path);
      expect(entries.get("conv")!.offset % 4).toBe((legacyOffset + shift) % 4);
      expect(await run(path)).toEqual(expected);
    }
  });

  it("do not pass through this process: a large checkpoint costs it no memory", async () => {
    const [rows, columns] = [4096, 4096]; // 64 MB
    const source = join(folder, "large.safetensors");
    await saveSafetensors(
      source,
      new Map([["w", float32([rows, columns], new Float32Array(rows * columns).fill(0.5))]]),
    );
    const x = input("x", "float32", ["N", columns]);
    const network = graph("large", { y: gemm(x, parameter("w", [rows, columns]), undefined, { transB: true }) });
    const before = process.memoryUsage();
    const weights = resolveWeights(network.parameters, await openWeights(source), { where: "large" });
    const program = await device.compile(network, { weights });
    const { y } = await program.run({ x: float32([1, columns], new Float32Array(columns).fill(1)) });
    const after = process.memoryUsage();
    expect(y!.data[rows - 1]).toBe(columns / 2);
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(20e6);
  });
});

/** Where the data begins in `legacyCheckpoint(…, 0)`, set by its first call. */
let legacyOffset = 0;

/** A legacy checkpoint of two tensors over one storage, moved by `shift` bytes through a longer key in its header. */
function legacyCheckpoint(values: Float32Array, out: number, channels: number, shift: number): string {
  const elements = int(values.length);
  const kernel = tensor({
    elements,
    size: bytes("(", int(out), int(channels), int(3), int(3), "t"),
    stride: bytes("(", int(channels * 9), int(9), int(3), int(1), "t"),
  });
  const matrix = tensor({
    elements,
    size: bytes(int(out), int(channels * 9), "\x86"),
    stride: bytes(int(channels * 9), int(1), "\x86"),
  });
  const count = Buffer.alloc(8);
  count.writeBigInt64LE(BigInt(values.length));
  const header = bytes(
    pickle(long(0x1950a86a20f9469cfc6cn)),
    pickle("M\xe9\x03"),
    pickle("}", text("little_endian"), "\x88s"),
    pickle(
      "}",
      text("conv"),
      kernel,
      "s",
      text("linear"),
      matrix,
      "s",
      text("padding".repeat(3) + "p".repeat(shift)),
      "Ns",
    ),
    pickle("]", text("0"), "a"),
    count,
  );
  if (shift === 0) legacyOffset = header.length;
  return writeTemporary(folder, bytes(header, new Uint8Array(values.buffer)));
}
