import { describe, expect, it } from "vitest";
import { checkGradient } from "#laurel/autodiff/check";
import { constant, graph, input, parameter, scalar } from "#laurel/graph/builder";
import type { Value } from "#laurel/graph/types";
import { conv2d } from "#laurel/nn/conv2d";
import { gegluFeedForward } from "#laurel/nn/feed-forward";
import { linear } from "#laurel/nn/linear";
import { rootScope, type Adapter, type Scope } from "#laurel/nn/scope";
import { elementCount, float32, type Tensor } from "#laurel/tensor/tensor";
import { TorchGenerator } from "#laurel/tensor/random";
import { evaluate } from "../autodiff/evaluate.js";

const generator = new TorchGenerator(11);
const numbers = (...shape: number[]): Tensor<"float32"> => float32(shape, generator.randn(elementCount(shape)));

const scales = { one: 0.5, two: -1.25 };
const adapters: Adapter[] = [
  { name: "one", rank: 2, scale: scalar(scales.one) },
  { name: "two", rank: 3, scale: scalar(scales.two) },
];

/** A layer, what it reads, and where its weight lies below the network "net". */
const layers: {
  readonly name: string;
  readonly module: string;
  readonly x: Tensor<"float32">;
  readonly build: (root: Scope, x: Value) => Value;
  readonly weights: Readonly<Record<string, Tensor<"float32">>>;
}[] = [
  {
    name: "linear",
    module: "to_q",
    x: numbers(2, 5, 4),
    build: (root, x) => linear(root.at("to_q"), x, 6),
    weights: { "net.to_q.weight": numbers(6, 4), "net.to_q.bias": numbers(6) },
  },
  {
    name: "conv2d of stride 2 with padding on two sides",
    module: "conv",
    x: numbers(2, 3, 5, 4),
    build: (root, x) => conv2d(root.at("conv"), x, 4, { stride: 2, padding: [0, 0, 1, 1] }),
    weights: { "net.conv.weight": numbers(4, 3, 3, 3), "net.conv.bias": numbers(4) },
  },
  {
    name: "the gated feed-forward, whose first weight is used in halves",
    module: "net.0.proj",
    x: numbers(7, 4),
    build: (root, x) => gegluFeedForward(root, x),
    weights: {
      "net.net.0.proj.weight": numbers(32, 4),
      "net.net.0.proj.bias": numbers(32),
      "net.net.2.weight": numbers(4, 16),
      "net.net.2.bias": numbers(4),
    },
  },
];

/** Factors by parameter name for a weight `[out, in, ...]`. */
function factors(module: string, [out, ...rest]: readonly number[]): Record<string, Tensor<"float32">> {
  const ones = rest.slice(1).map(() => 1);
  return Object.fromEntries(
    adapters.flatMap(({ name, rank }) => [
      [`net.${module}.lora_A.${name}.weight`, numbers(rank, ...rest)],
      [`net.${module}.lora_B.${name}.weight`, numbers(out!, rank, ...ones)],
    ]),
  );
}

/** weight + sum of scale * B A, in float64. */
function merged(
  module: string,
  weight: Tensor<"float32">,
  lora: Readonly<Record<string, Tensor<"float32">>>,
): Tensor<"float32"> {
  const out = weight.shape[0]!;
  const inner = weight.data.length / out;
  const sum = Float64Array.from(weight.data);
  for (const { name, rank } of adapters) {
    const a = lora[`net.${module}.lora_A.${name}.weight`]!.data;
    const b = lora[`net.${module}.lora_B.${name}.weight`]!.data;
    for (let o = 0; o < out; o++)
      for (let i = 0; i < inner; i++)
        for (let r = 0; r < rank; r++)
          sum[o * inner + i]! += scales[name as "one" | "two"] * b[o * rank + r]! * a[r * inner + i]!;
  }
  return float32(weight.shape, Float32Array.from(sum));
}

describe.each(layers)("adapters of $name", ({ module, x, build, weights }) => {
  const key = `net.${module}.weight`;
  const lora = factors(module, weights[key]!.shape);
  const adapted = (): Scope =>
    rootScope({ prefix: "net", mode: "training", adapters: (path) => (path === module ? adapters : []) });

  it("give what the merged weight gives", async () => {
    const output = build(adapted(), constant(x));
    const plain = build(rootScope({ prefix: "net", mode: "training" }), constant(x));
    const { output: actual } = await evaluate(graph("adapted", { output }), { ...weights, ...lora });
    const { output: base } = await evaluate(graph("plain", { output: plain }), weights);
    const { output: expected } = await evaluate(graph("merged", { output: plain }), {
      ...weights,
      [key]: merged(module, weights[key]!, lora),
    });
    const size = Math.max(...(expected!.data as Float32Array).map(Math.abs));
    const distance = (other: Tensor): number =>
      Math.max(...(actual!.data as Float32Array).map((value, i) => Math.abs(value - Number(other.data[i])))) / size;
    // float32 sums in another order
    expect(distance(expected!)).toBeLessThan(2e-6);
    expect(distance(base!)).toBeGreaterThan(0.1);
  });

  it("have gradients to A, B and the input", async () => {
    const value = input("x", "float32", [...x.shape]);
    const targets = [value, ...Object.entries(lora).map(([name, { shape }]) => parameter(name, shape))];
    const root = adapted();
    const output = build(root, value);
    const own = targets.map((target) =>
      target.source.kind === "parameter"
        ? root.parameter(target.source.name.slice("net.".length), target.shape as number[])
        : target,
    );
    const { error } = await checkGradient(output, own, { x, ...weights, ...lora }, evaluate);
    expect(error).toBeLessThan(2e-4);
  });

  it("leave a scope without adapters as it was", () => {
    const parameters = (scope: Scope): string[] => [
      ...graph("g", { output: build(scope, constant(x)) }).parameters.keys(),
    ];
    const elsewhere = rootScope({
      prefix: "net",
      mode: "inference",
      adapters: (path) => (path === "other" ? adapters : []),
    });
    expect(parameters(elsewhere).toSorted()).toEqual(Object.keys(weights).toSorted());
  });
});
