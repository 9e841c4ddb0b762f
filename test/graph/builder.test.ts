import { afterAll, describe, expect, test } from "vitest";
import * as g from "#laurel/graph/builder";
import type { Node } from "#laurel/graph/builder";
import { parseDim } from "#laurel/graph/dims";
import { verify } from "#laurel/graph/verify";
import { openDevice } from "#laurel/runtime/device";
import { allocate } from "#laurel/tensor/dtype";
import { elementCount } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";

const x = g.input("x", "float32", ["N", 4, 8, 8]);
const tokens = g.input("tokens", "float32", ["N", 6, 4]);

const nodeOf = (value: g.Value): Node => {
  if (value.source.kind !== "node") throw new Error("not a node's output");
  return value.source.node;
};

/** A shape with every symbol set to `size`. */
const sized = (shape: readonly g.Dim[], size: number) =>
  shape.map((dim) => parseDim(dim)).map(({ factor, symbol }) => (symbol === undefined ? factor : factor * size));

describe("symbolic shapes are inferred, and are those of the results", () => {
  const device = openDevice();
  afterAll(() => device.close());
  const w = g.parameter("w", [8, 4, 3, 3]);
  test.each<[string, () => g.Value, readonly g.Dim[]]>([
    ["convolution with padding", () => g.conv(x, w, undefined, { pads: [1, 1, 1, 1] }), ["N", 8, 8, 8]],
    ["strided convolution", () => g.conv(x, w, undefined, { strides: [2, 2], pads: [0, 0, 1, 1] }), ["N", 8, 4, 4]],
    ["reshape to a symbolic target", () => g.reshape(x, ["N", 2, 2, 64]), ["N", 2, 2, 64]],
    ["reshape with -1", () => g.reshape(x, [-1, 64]), ["4*N", 64]],
    ["reshape back", () => g.reshape(g.reshape(x, ["4*N", 64]), ["N", 4, 64]), ["N", 4, 64]],
    ["flattening", () => g.flatten2d(x), ["N", 256]],
    ["batched product", () => g.fusedMatMul(tokens, tokens, { transB: true }), ["N", 6, 6]],
    ["broadcasting", () => g.add(x, g.parameter("b", [1, 4, 1, 1])), ["N", 4, 8, 8]],
    ["joining the batch", () => g.concat([x, x], 0), ["2*N", 4, 8, 8]],
    ["halving the batch", () => g.split(g.concat([x, x], 0), ["N", "N"], 0)[1] as g.Value, ["N", 4, 8, 8]],
    ["expanding to the batch of another value", () => g.expand(g.parameter("p", [1, 3]), ["N", 3], x), ["N", 3]],
    ["expanding to a multiple of it", () => g.expand(g.parameter("p", [1, 3]), ["2*N", 3], x), ["2*N", 3]],
    ["attention", () => g.multiHeadAttention(tokens, tokens, tokens, { heads: 2 }), ["N", 6, 4]],
    ["upsampling", () => g.resizeNearest(x, 2), ["N", 4, 16, 16]],
    ["embedding", () => g.gather(g.parameter("e", [10, 4]), g.input("ids", "int64", ["N", 6])), ["N", 6, 4]],
    ["several symbols", () => g.reshape(g.input("s", "float32", ["N", "M", 6]), ["N", "M", 2, 3]), ["N", "M", 2, 3]],
    [
      "symbolic sides",
      () =>
        g.conv(g.input("s", "float32", [1, 4, "8*h", "8*w"]), w, undefined, { strides: [2, 2], pads: [1, 1, 1, 1] }),
      [1, 8, "4*h", "4*w"],
    ],
    ["dividing what `like` has", () => g.expand(g.scalar(1), ["N", 3], g.concat([x, x], 0)), ["N", 3]],
  ])("%s", async (_name, build, shape) => {
    const value = build();
    expect(value.shape).toEqual(shape);
    const program = await device.compile(verify(g.graph("t", { value })));
    for (const size of [1, 3]) {
      const feeds = program.inputs.map(({ name, dtype, shape }) => {
        const dims = sized(shape, size);
        return [name, { dtype, shape: dims, data: allocate(dtype, elementCount(dims)) } as Tensor] as const;
      });
      const results = await program.run(Object.fromEntries(feeds));
      expect(results["value"]?.shape).toEqual(sized(shape, size));
    }
  });
});

describe("operands that do not fit are named with what was expected", () => {
  const w = g.parameter("w", [8, 3, 3, 3]);
  const ids = g.input("ids", "int64", ["N", 6]);
  test.each<[string, () => unknown, RegExp]>([
    [
      "shapes",
      () => g.add(x, tokens),
      /^Add at graph\/builder\.test\.ts:\d+: expected operands whose shapes broadcast, got float32\[N,4,8,8\] "x" and float32\[N,6,4\] "tokens"$/,
    ],
    [
      "dtypes",
      () => g.mul(tokens, ids),
      /^Mul .*expected operands of one dtype, got float32\[N,6,4\] "tokens" and int64\[N,6\] "ids"$/,
    ],
    ["channels", () => g.conv(x, w), /^Conv .*expected 4 channels in 1 group\(s\), got float32\[8,3,3,3\] "w"$/],
    ["inner size", () => g.matMul(tokens, tokens), /^MatMul .*expected matrices of one inner size, got/],
    ["elements", () => g.reshape(x, ["N", 100]), /^Reshape.*expected/],
    ["two open dimensions", () => g.reshape(x, [-1, "M", 3]), /^Reshape: expected at most one open dimension/],
    ["axis", () => g.softmax(tokens, 3), /^Softmax .*expected an axis within \[-3, 2\], got 3$/],
    ["integers to a function", () => g.exp(ids), /^Exp .*expected a floating-point operand, got int64\[N,6\] "ids"$/],
    ["split", () => g.split(tokens, [1, 2], 2), /^Split .*expected sizes that add up to 4, got \[1,2\]$/],
    [
      "a symbol against a number",
      () => g.add(x, g.parameter("b", [3, 1, 1, 1])),
      /^Add .*expected operands whose shapes broadcast/,
    ],
    [
      "expand without a source of the symbol",
      () => g.expand(g.scalar(1), ["M"], x),
      /^Expand: expected a `like` value with the symbol of M/,
    ],
    [
      "heads",
      () => g.multiHeadAttention(tokens, tokens, tokens, { heads: 3 }),
      /^MultiHeadAttention .*expected a width of 3 heads/,
    ],
    ["two numbers", () => g.where(g.equal(ids, 1), 1, 2), /^Where: expected at least one value, got two numbers$/],
    [
      "scale of a norm",
      () => g.layerNormalization(tokens, g.parameter("s", [5])),
      /^LayerNormalization .*expected scale and bias \[4\]/,
    ],
  ])("%s", (_name, build, message) => {
    expect(build).toThrow(message);
    expect(build).toThrow(expect.objectContaining({ name: "UsageError" }));
  });
});

describe("a graph", () => {
  test("holds what its outputs need, in an order that can be computed", () => {
    const a = g.input("a", "float32", [2]);
    const unused = g.exp(a);
    const b = g.add(g.neg(a), g.parameter("p", [2]));
    const built = g.graph("t", { b, twice: b, a });
    expect(built.nodes.map((node) => node.op)).toEqual(["Neg", "Add"]);
    expect([...built.inputs.keys()]).toEqual(["a"]);
    expect([...built.parameters.keys()]).toEqual(["p"]);
    expect(built.nodes).not.toContain(nodeOf(unused));
    expect(verify(built)).toBe(built);
  });

  test("of 20,000 nodes in a row is assembled without recursion", () => {
    let value: g.Value = g.input("a", "float32", [2]);
    for (let index = 0; index < 20_000; index++) value = g.neg(value);
    expect(g.graph("deep", { value }).nodes).toHaveLength(20_000);
  });

  test("refuses two inputs of one name, and an output with an input's name", () => {
    const [a, b] = [g.input("a", "float32", [2]), g.input("a", "float32", [2])];
    expect(() => g.graph("t", { y: g.add(a, b) })).toThrow(/^graph t: expected one value named "a", got/);
    expect(() => g.graph("t", { a: g.neg(a) })).toThrow(/^graph t: expected one value named "a", got/);
    expect(() => g.graph("t", {})).toThrow(/expected at least one output/);
  });

  test("remembers the line of model code that built each node", () => {
    const node = nodeOf(g.gelu(tokens));
    expect(node.origin).toMatch(/^graph\/builder\.test\.ts:\d+$/);
    const inherited = g.withOrigin("models/unet.ts:7", () => nodeOf(g.neg(tokens)));
    expect(inherited.origin).toBe("models/unet.ts:7");
  });
});

describe("the verifier", () => {
  const build = () => {
    const a = g.input("a", "float32", ["N", 2]);
    return g.graph("t", { y: g.exp(g.neg(a)) });
  };
  const withNodes = (nodes: readonly Node[]) => ({ ...build(), nodes });

  test("finds an operand that comes too late", () => {
    const nodes = build().nodes;
    expect(() => verify(withNodes([...nodes].reverse()))).toThrow(
      /internal: graph t: Exp .*expected operands made before it, got Neg/,
    );
  });

  test("finds an output of another type than its op infers", () => {
    const built = build();
    const [first] = built.nodes;
    const output = (first as Node).outputs[0] as { shape: readonly g.Dim[] };
    output.shape = ["N", 3];
    expect(() => verify(built)).toThrow(/Neg .*expected output 0 to be float32\[N,2\], got float32\[N,3\]/);
  });

  test("finds operands that belong to another graph", () => {
    const [built, other] = [build(), build()];
    expect(() => verify({ ...built, inputs: other.inputs })).toThrow(/input "a" is not the graph's/);
  });
});
