import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as g from "#laurel/graph/builder";
import { decodeModel } from "#laurel/onnx/decode";
import { encodeModel, feedTypes } from "#laurel/onnx/encode";
import { openDevice } from "#laurel/runtime/device";
import type { DType } from "#laurel/tensor/dtype";
import { float32ToBfloat16, float32ToFloat16 } from "#laurel/tensor/half";
import { float32 } from "#laurel/tensor/tensor";
import type { WeightEntry, WeightRef } from "#laurel/weights/types";

const linear = () => {
  const x = g.input("x", "float32", ["N", 2]);
  return g.graph("linear", {
    y: g.gemm(x, g.parameter("w", [2, 2]), g.parameter("b", [2]), { transB: true, alpha: 1 }),
  });
};

describe("the message", () => {
  test("carries opsets, typed attributes, names and symbolic shapes", () => {
    const model = decodeModel(encodeModel(linear(), { metadata: { purpose: "test" } }));
    expect(model.irVersion).toBe(10);
    expect(model.opsetImport).toEqual([{ version: 21 }, { domain: "com.microsoft", version: 1 }]);
    expect(model.metadataProps).toEqual([{ key: "purpose", value: "test" }]);
    const [gemm] = model.graph.node;
    expect(gemm).toMatchObject({ opType: "Gemm", input: ["x", "w", "b"], output: ["y"] });
    expect(gemm?.name).toMatch(/^Gemm#0 \(onnx\/encode\.test\.ts:\d+\)$/);
    // A whole number for a float attribute is written as a float.
    expect(gemm?.attribute.find(({ name }) => name === "alpha")).toMatchObject({ type: 1, f: 1 });
    expect(gemm?.attribute.find(({ name }) => name === "transB")).toMatchObject({ type: 2, i: 1 });
    expect(model.graph.input.map(({ name }) => name)).toEqual(["x", "w", "b"]);
    expect(model.graph.input[0]?.type.tensorType.shape.dim).toEqual([{ dimParam: "N" }, { dimValue: 2 }]);
  });

  test("is the same bytes for the same graph, whenever it was built", () => {
    expect(encodeModel(linear())).toEqual(encodeModel(linear()));
  });

  test("shares equal small constants and leaves optional operands empty", () => {
    const x = g.input("x", "float32", [1, 1, 2, 2]);
    const { graph } = decodeModel(
      encodeModel(g.graph("t", { y: g.resizeNearest(g.resizeNearest(g.mul(g.mul(x, 2), 2), 2), 2) })),
    );
    expect(graph.initializer).toHaveLength(2);
    expect(graph.node[2]?.input[1]).toBe("");
  });

  test("gives every output its name, also one value twice and an input", () => {
    const x = g.input("x", "float32", [1]);
    const y = g.neg(x);
    const { graph } = decodeModel(encodeModel(g.graph("t", { first: y, second: y, x, constant: g.scalar(3) })));
    expect(graph.output.map(({ name }) => name)).toEqual(["first", "second", "x", "constant"]);
    expect(graph.node.map(({ opType, output }) => [opType, output[0]])).toEqual([
      ["Neg", "first"],
      ["Identity", "second"],
      ["Identity", "constant"],
    ]);
  });

  test("bytes that are none are refused", () => {
    expect(() => decodeModel(Uint8Array.of(255, 255, 255))).toThrow(expect.objectContaining({ name: "ModelError" }));
  });
});

describe("parameters", () => {
  const w = float32([2, 2], [1, 2, 3, 4]);
  const b = float32([2], [10, 20]);

  test("with a weight become initializers, trainable ones and others stay inputs", () => {
    const weights = new Map<string, WeightRef>([
      ["w", w],
      ["b", b],
    ]);
    expect([...feedTypes(linear(), { weights }).keys()]).toEqual(["x"]);
    expect([...feedTypes(linear(), { weights, trainable: new Set(["b"]) }).keys()]).toEqual(["x", "b"]);
    expect([...feedTypes(linear(), {}).keys()]).toEqual(["x", "w", "b"]);
    const { graph } = decodeModel(encodeModel(linear(), { weights, trainable: new Set(["b"]) }));
    expect(graph.initializer.map(({ name }) => name)).toEqual(["w"]);
    expect(graph.input.map(({ name }) => name)).toEqual(["x", "b"]);
  });

  test("of another shape are refused together; unit dimensions do not matter", () => {
    const weights = new Map<string, WeightRef>([
      ["w", float32([4], [1, 2, 3, 4])],
      ["b", float32([3], [1, 2, 3])],
    ]);
    const message = "graph linear: weight w: expected [2,2], got [4]; weight b: expected [2], got [3]";
    expect(() => encodeModel(linear(), { weights })).toThrow(expect.objectContaining({ name: "ModelError", message }));
    weights.set("w", float32([2, 2, 1, 1], [1, 2, 3, 4])).set("b", b);
    expect(decodeModel(encodeModel(linear(), { weights })).graph.initializer[0]?.dims).toEqual([2, 2]);
  });
});

describe("weights in their files", () => {
  let folder: string;
  const device = openDevice();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "laurel-onnx-"));
  });
  afterAll(async () => {
    await device.close();
    await rm(folder, { recursive: true });
  });

  /** Writes a safetensors file by hand, and gives its entries. */
  async function safetensors(
    file: string,
    tensors: Record<string, { dtype: DType; code: string; shape: number[]; bytes: Uint8Array }>,
  ) {
    const header: Record<string, unknown> = {};
    let end = 0;
    for (const [name, { code, shape, bytes }] of Object.entries(tensors)) {
      header[name] = { dtype: code, shape, data_offsets: [end, (end += bytes.length)] };
    }
    const json = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    await writeFile(file, Buffer.concat([size, json, ...Object.values(tensors).map(({ bytes }) => bytes)]));
    let offset = 8 + json.length;
    return (through: string) =>
      new Map(
        Object.entries(tensors).map(([name, { dtype, shape, bytes }]) => {
          const entry: WeightEntry = { name, dtype, shape, file: through, offset, length: bytes.length };
          offset += bytes.length;
          return [name, entry] as const;
        }),
      );
  }

  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array | Uint16Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  const w = Float32Array.of(1, 2, 3, 4);
  const b = Float32Array.of(0.5, -0.25);

  test.each<[string, DType, (x: Float32Array) => Float32Array | Uint16Array, string]>([
    ["float32", "float32", (x) => x, "F32"],
    ["float16, cast on loading", "float16", float32ToFloat16, "F16"],
    ["bfloat16, cast on loading", "bfloat16", float32ToBfloat16, "BF16"],
  ])("%s are read in place, through a symlink that leaves the folder", async (_name, dtype, convert, code) => {
    const [blobs, snapshot] = [join(folder, `${code}-blobs`), join(folder, `${code}-snapshot`)];
    await Promise.all([blobs, snapshot].map((path) => mkdir(path)));
    const entries = await safetensors(join(blobs, "0a1b"), {
      // An odd first byte count: offsets need no alignment.
      odd: { dtype: "uint8", code: "U8", shape: [3], bytes: Uint8Array.of(1, 2, 3) },
      w: { dtype, code, shape: [2, 2], bytes: bytesOf(convert(w)) },
      b: { dtype, code, shape: [2], bytes: bytesOf(convert(b)) },
    });
    const link = join(snapshot, "model.safetensors");
    await symlink(join("..", `${code}-blobs`, "0a1b"), link);
    const program = await device.compile(linear(), { weights: entries(link) });
    const { y } = await program.run({ x: float32([1, 2], [1, 10]) });
    expect(Array.from(y?.data as Float32Array)).toEqual([21.5, 42.75]);
  });

  test("a file that is too short is an error naming the program", async () => {
    const file = join(folder, "short.bin");
    await writeFile(file, Buffer.alloc(8));
    const entry: WeightEntry = { name: "w", dtype: "float32", shape: [2, 2], file, offset: 0, length: 16 };
    const compiling = device.compile(linear(), { weights: new Map([["w", entry]]), label: "broken" });
    await expect(compiling).rejects.toThrow(
      expect.objectContaining({ name: "ModelError", message: expect.stringMatching(/^program broken: /) as string }),
    );
  });
});
