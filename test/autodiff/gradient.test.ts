import { describe, expect, it } from "vitest";
import { checkGradient } from "#laurel/autodiff/check";
import { gradient } from "#laurel/autodiff/gradient";
import { RULES } from "#laurel/autodiff/rules/index";
import type { RuleTable } from "#laurel/autodiff/rule";
import * as g from "#laurel/graph/builder";
import { float32 } from "#laurel/tensor/tensor";
import { TorchGenerator } from "#laurel/tensor/random";
import { evaluate } from "./evaluate.js";

const x = g.input("x", "float32", ["N", 3]);
const w = g.parameter("w", [4, 3]);

describe("gradient", () => {
  it("gives the derivative of a scalar, and of that derivative again", async () => {
    const s = g.input("s", "float32", []);
    const [first] = gradient(g.mul(g.mul(s, s), s), [s]) as [g.Value];
    const [second] = gradient(first, [s]) as [g.Value];
    const results = await evaluate(g.graph("cube", { first, second }), { s: float32([], [5]) });
    expect(results.first?.data[0]).toBeCloseTo(75, 4);
    expect(results.second?.data[0]).toBeCloseTo(30, 4);
  });

  it("walks only the nodes between target and output", () => {
    const value = g.gemm(g.tanh(x), w, undefined, { transB: true });
    const [dw] = gradient([{ value, upstream: g.input("dy", "float32", ["N", 4]) }], [w]) as [g.Value];
    // Neither the product itself nor its input gradient.
    expect(g.graph("one", { dw }).nodes.map(({ op }) => op)).toEqual(["Tanh", "Gemm"]);
  });

  it("differentiates by a value in the middle and by what lies before it", async () => {
    const s = g.input("s", "float32", [2]);
    const middle = g.exp(s);
    const [dm, ds] = gradient(g.reduceSum(g.mul(middle, middle), [0], { keepDims: false }), [middle, s]) as [
      g.Value,
      g.Value,
    ];
    const { dm: actual, ds: deep } = await evaluate(g.graph("middle", { dm, ds }), { s: float32([2], [0, 1]) });
    expect([...(actual?.data as Float32Array)]).toEqual([expect.closeTo(2, 5), expect.closeTo(2 * Math.E, 4)]);
    expect([...(deep?.data as Float32Array)]).toEqual([expect.closeTo(2, 5), expect.closeTo(2 * Math.E ** 2, 4)]);
  });

  it("names an output that does not depend on a target", () => {
    expect(() => gradient(g.reduceSum(x, [0, 1], { keepDims: false }), [w])).toThrow(/depends on parameter w/);
  });

  it("asks for one element or for seeds", () => {
    expect(() => gradient(x, [x])).toThrow(/one element or seeds, got float32\[N,3\]/);
  });

  it("refuses targets that are not float", () => {
    const i = g.input("i", "int64", [2]);
    expect(() => gradient(g.scalar(1), [i])).toThrow(/expected float targets, got input i of int64/);
  });

  it("refuses a seed of another shape", () => {
    expect(() => gradient([{ value: x, upstream: w }], [x])).toThrow(/expected float32\[N,3\], got float32\[4,3\]/);
  });

  it("names an op without a derivative and where it was built", () => {
    const rules: RuleTable = { ...RULES, Tanh: "nondifferentiable" };
    const loss = g.reduceSum(g.tanh(x), [0, 1], { keepDims: false });
    expect(() => gradient(loss, [x], rules)).toThrow(/got Tanh \(.*gradient\.test\.ts:\d+\)/);
  });

  it("checks how many gradients a rule returns and their shapes", () => {
    const loss = g.reduceSum(g.tanh(x), [0, 1], { keepDims: false });
    expect(() => gradient(loss, [x], { ...RULES, Tanh: () => [] })).toThrow(
      /rule of Tanh: expected 1 gradients, got 0/,
    );
    expect(() => gradient(loss, [x], { ...RULES, Tanh: () => [w] })).toThrow(
      /rule of Tanh, input 0: expected float32\[N,3\], got float32\[4,3\]/,
    );
    const half: RuleTable = { ...RULES, Tanh: ({ upstreams }) => [g.cast(upstreams[0] as g.Value, "float16")] };
    expect(() => gradient(loss, [x], half)).toThrow(/expected float32\[N,3\], got float16\[N,3\]/);
  });

  it("gives gradient nodes the origin of the node they differentiate", () => {
    const y = g.tanh(x);
    const origin = y.source.kind === "node" ? y.source.node.origin : "";
    const [dx] = gradient([{ value: y, upstream: g.input("dy", "float32", ["N", 3]) }], [x]) as [g.Value];
    const { nodes } = g.graph("origins", { dx });
    expect(nodes.every((node) => node.origin === origin)).toBe(true);
  });
});

describe("checkGradient", () => {
  const generator = new TorchGenerator(3);
  const point = {
    x: float32([2, 4, 5, 5], generator.randn(200)),
    k: float32(
      [3, 4, 3, 3],
      generator.randn(108).map((value) => 0.3 * value),
    ),
  };
  const image = g.input("x", "float32", [2, 4, 5, 5]);
  const kernel = g.parameter("k", [3, 4, 3, 3]);
  const network = g.gelu(g.conv(g.tanh(image), kernel, undefined, { pads: [1, 1, 1, 1] }));

  it("agrees with Laurel's rules", async () => {
    const { error } = await checkGradient(network, [image, kernel], point, evaluate);
    expect(error).toBeLessThan(5e-5);
  });

  it.each(["Conv", "Gelu"] as const)("notices a rule of %s that is wrong by 0.05 percent", async (op) => {
    const right = RULES[op] as unknown as (context: never) => (g.Value | undefined)[];
    const wrong = (context: never): (g.Value | undefined)[] =>
      right(context).map((part) => part && g.mul(part, 1.0005));
    const options = { rules: { ...RULES, [op]: wrong }, directions: 6 };
    const { error } = await checkGradient(network, [image, kernel], point, evaluate, options);
    expect(error).toBeGreaterThan(2e-4);
  });
});
