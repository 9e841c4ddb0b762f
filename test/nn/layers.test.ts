import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { constant, graph, input, resizeNearest } from "#laurel/graph/builder";
import type { Value } from "#laurel/graph/types";
import { activate } from "#laurel/nn/activation";
import type { ActivationName } from "#laurel/nn/activation";
import { attend } from "#laurel/nn/attention";
import { conv2d } from "#laurel/nn/conv2d";
import { gegluFeedForward } from "#laurel/nn/feed-forward";
import { embedding, linear } from "#laurel/nn/linear";
import { groupNorm, layerNorm } from "#laurel/nn/norm";
import { patchTokens } from "#laurel/nn/patch-tokens";
import { rootScope } from "#laurel/nn/scope";
import { timestepSinusoids } from "#laurel/nn/timestep-embedding";
import { upsampleConv2d } from "#laurel/nn/upsample-conv2d";
import { encodeModel } from "#laurel/onnx/encode";
import { elementCount, float32, int64 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";

/** Numbers in [-1, 1), different for each seed. */
function numbers(seed: number, shape: readonly number[]): Tensor<"float32"> {
  let state = seed;
  const values = Array.from({ length: elementCount(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
  return float32(shape, values);
}

async function evaluate(output: Value, weights: Record<string, Tensor> = {}): Promise<number[]> {
  const model = encodeModel(graph("layer", { output }), { weights: new Map(Object.entries(weights)) });
  const session = await ort.InferenceSession.create(model, { intraOpNumThreads: 1, logSeverityLevel: 3 });
  const results = await session.run({});
  return Array.from((results.output as ort.Tensor).data as Float32Array);
}

function expectClose(actual: readonly number[], expected: readonly number[], bound = 2e-6): void {
  expect(actual).toHaveLength(expected.length);
  const scale = Math.max(...expected.map(Math.abs));
  actual.forEach((value, index) => expect(Math.abs(value - (expected[index] as number)) / scale).toBeLessThan(bound));
}

const scope = rootScope({ prefix: "net", mode: "inference" });

describe("a scope", () => {
  it("names parameters as the checkpoint does", () => {
    expect(scope.at("blocks", 3, "attn").parameter("weight", [2]).source).toEqual({
      kind: "parameter",
      name: "net.blocks.3.attn.weight",
    });
    expect(rootScope({ mode: "training" }).parameter("logit_scale", []).source).toMatchObject({ name: "logit_scale" });
    expect(rootScope({ mode: "training" }).at("a").mode).toBe("training");
  });

  it("gives the same value for the same name, and refuses another shape", () => {
    const root = rootScope({ mode: "inference" });
    expect(root.at("a").parameter("weight", [2, 3])).toBe(root.parameter("a.weight", [2, 3]));
    expect(() => root.parameter("a.weight", [3, 2])).toThrow(/a\.weight: expected \[2,3\] as before, got \[3,2\]/);
  });
});

describe("linear", () => {
  it("multiplies every row with the transposed weight", async () => {
    const [x, weight, bias] = [numbers(1, [2, 3, 4]), numbers(2, [5, 4]), numbers(3, [5])];
    const expected = Array.from({ length: 30 }, (_, at) => {
      const [row, column] = [Math.floor(at / 5), at % 5];
      return [0, 1, 2, 3].reduce(
        (sum, k) => sum + (x.data[row * 4 + k] as number) * (weight.data[column * 4 + k] as number),
        bias.data[column] as number,
      );
    });
    const output = linear(scope, constant(x), 5);
    expect(output.shape).toEqual([2, 3, 5]);
    expectClose(await evaluate(output, { "net.weight": weight, "net.bias": bias }), expected);
  });

  it("keeps a symbolic batch and has no bias when asked", () => {
    const root = rootScope({ mode: "inference" });
    const output = linear(root, input("x", "float32", ["N", 7, 4]), 5, { bias: false });
    expect(output.shape).toEqual(["N", 7, 5]);
    expect([...graph("g", { output }).parameters.keys()]).toEqual(["weight"]);
  });
});

describe("embedding", () => {
  it("takes the rows of the table", async () => {
    const table = numbers(4, [6, 2]);
    const output = embedding(rootScope({ mode: "inference" }), constant(int64([2, 2], [5, 0, 3, 3])), 6, 2);
    expectClose(
      await evaluate(output, { weight: table }),
      [10, 11, 0, 1, 6, 7, 6, 7].map((at) => table.data[at] as number),
    );
  });
});

describe("norms", () => {
  const normalized = (values: number[], epsilon: number): number[] => {
    const mean = values.reduce((a, b) => a + b) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    return values.map((value) => (value - mean) / Math.sqrt(variance + epsilon));
  };

  it("layerNorm works on the last axis", async () => {
    const [x, weight, bias] = [numbers(5, [3, 4]), numbers(6, [4]), numbers(7, [4])];
    const expected = [0, 1, 2].flatMap((row) =>
      normalized(Array.from(x.data.slice(row * 4, row * 4 + 4)), 0.1).map(
        (v, i) => v * (weight.data[i] as number) + (bias.data[i] as number),
      ),
    );
    const output = layerNorm(rootScope({ mode: "inference" }), constant(x), 0.1);
    expectClose(await evaluate(output, { weight, bias }), expected);
  });

  it("groupNorm normalises groups of channels and scales each channel", async () => {
    const [x, weight, bias] = [numbers(8, [2, 6, 2, 3]), numbers(9, [6]), numbers(10, [6])];
    const expected = [0, 1, 2, 3].flatMap((group) =>
      normalized(Array.from(x.data.slice(group * 18, group * 18 + 18)), 0.01).map((value, i) => {
        const channel = (group % 2) * 3 + Math.floor(i / 6);
        return value * (weight.data[channel] as number) + (bias.data[channel] as number);
      }),
    );
    const output = groupNorm(rootScope({ mode: "inference" }), constant(x), { groups: 2, epsilon: 0.01 });
    expect(output.shape).toEqual([2, 6, 2, 3]);
    expectClose(await evaluate(output, { weight, bias }), expected);
  });

  it("groupNorm refuses groups that do not divide the channels", () => {
    const x = input("x", "float32", ["N", 6, 2, 2]);
    expect(() => groupNorm(rootScope({ prefix: "norm1", mode: "inference" }), x, { groups: 4, epsilon: 1e-5 })).toThrow(
      /norm1: expected channels divisible by 4 groups, got 6/,
    );
  });
});

describe("activations", () => {
  const logistic = (x: number): number => 1 / (1 + Math.exp(-x));
  const tanhGelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
  const table: [ActivationName, number[]][] = [
    ["silu", [-2, 0.5, 3].map((x) => x * logistic(x))],
    ["swish", [-2, 0.5, 3].map((x) => x * logistic(x))],
    ["relu", [0, 0.5, 3]],
    ["gelu", [-0.04550026, 0.34573123, 2.99595031]],
    ["gelu_new", [-2, 0.5, 3].map(tanhGelu)],
    ["gelu_pytorch_tanh", [-2, 0.5, 3].map(tanhGelu)],
    ["quick_gelu", [-2, 0.5, 3].map((x) => x * logistic(1.702 * x))],
  ];
  it.each(table)("%s", async (name, expected) => {
    expectClose(await evaluate(activate(name, constant(float32([3], [-2, 0.5, 3])))), expected);
  });
});

describe("attention", () => {
  const tokens = { batch: 2, length: 3 };
  const [q, k, v] = [numbers(11, [6, 8]), numbers(12, [10, 8]), numbers(13, [10, 8])];
  const mask = float32([2, 1, 1, 5], [0, 0, -1e4, 0, 0, 0, -1e4, 0, 0, -1e4]);
  const reference = (heads: number): number[] => {
    const size = 8 / heads;
    const at = (values: Tensor<"float32">, row: number, column: number): number =>
      values.data[row * 8 + column] as number;
    return Array.from({ length: 48 }, (_, index) => {
      const [row, column] = [Math.floor(index / 8), index % 8];
      const [batch, first] = [Math.floor(row / 3), Math.floor(column / size) * size];
      const weights = [0, 1, 2, 3, 4].map((key) => {
        const score = Array.from({ length: size }, (_, c) => at(q, row, first + c) * at(k, batch * 5 + key, first + c));
        return Math.exp(score.reduce((a, b) => a + b) / Math.sqrt(size) + (mask.data[batch * 5 + key] as number));
      });
      const total = weights.reduce((a, b) => a + b);
      return weights.reduce((sum, weight, key) => sum + (weight / total) * at(v, batch * 5 + key, column), 0);
    });
  };

  it.each([1, 2, 4])(
    "mixes values by the softmax of scaled, masked scores, fused and plain, %i heads",
    async (heads) => {
      for (const mode of ["inference", "training"] as const) {
        const output = attend(mode, { ...tokens, rows: constant(q) }, constant(k), constant(v), 5, {
          heads,
          mask: constant(mask),
        });
        expectClose(await evaluate(output), reference(heads));
      }
    },
  );

  it("refuses heads that do not divide the width", () => {
    const query = { ...tokens, rows: constant(q) };
    expect(() => attend("training", query, constant(k), constant(v), 5, { heads: 3 })).toThrow(
      /divisible by 3 heads, got 8/,
    );
  });
});

describe("geglu", () => {
  it("gates the first half of its projection by the gelu of the second", async () => {
    const [x, proj, bias] = [numbers(14, [1, 1]), numbers(15, [8, 1]), numbers(16, [8])];
    const [out, outBias] = [numbers(17, [1, 4]), numbers(18, [1])];
    const inner = Array.from(proj.data, (w, i) => w * (x.data[0] as number) + (bias.data[i] as number));
    const gates = await evaluate(activate("gelu", constant(float32([4], inner.slice(4)))));
    const expected = gates.reduce(
      (sum, gate, i) => sum + gate * (inner[i] as number) * (out.data[i] as number),
      outBias.data[0] as number,
    );
    const weights = { "net.0.proj.weight": proj, "net.0.proj.bias": bias, "net.2.weight": out, "net.2.bias": outBias };
    expectClose(await evaluate(gegluFeedForward(rootScope({ mode: "inference" }), constant(x)), weights), [expected]);
  });
});

describe("timestep sinusoids", () => {
  it.each([
    [true, 0],
    [false, 1],
  ])(
    "are cosines and sines of t / 10000^(i / (half - shift)); flipped %s, shift %i",
    async (flipSinToCos, freqShift) => {
      const steps = [0, 1, 999];
      const expected = steps.flatMap((t) => {
        const angles = [0, 1, 2, 3].map((i) => t * 10000 ** (-i / (4 - freqShift)));
        const [sines, cosines] = [angles.map(Math.sin), angles.map(Math.cos)];
        return flipSinToCos ? [...cosines, ...sines] : [...sines, ...cosines];
      });
      const output = timestepSinusoids(constant(float32([3], steps)), { channels: 8, flipSinToCos, freqShift });
      // float32 frequencies: an angle of 999 radians is good to about 6e-5
      expectClose(await evaluate(output), expected, 1e-4);
    },
  );
});

describe("convolutions and patches", () => {
  it("pads by half the kernel unless told otherwise", () => {
    const x = input("x", "float32", ["N", 2, 8, 8]);
    const root = rootScope({ mode: "inference" });
    expect(conv2d(root.at("a"), x, 3).shape).toEqual(["N", 3, 8, 8]);
    expect(conv2d(root.at("b"), x, 3, { kernel: 1 }).shape).toEqual(["N", 3, 8, 8]);
    expect(conv2d(root.at("c"), x, 3, { stride: 2 }).shape).toEqual(["N", 3, 4, 4]);
    expect(conv2d(root.at("d"), x, 3, { stride: 2, padding: [0, 0, 1, 1] }).shape).toEqual(["N", 3, 4, 4]);
  });

  it("convolves a doubled map without making it", async () => {
    const conv = scope.at("conv");
    // two pictures, sides that differ: an axis or a picture taken for another shows
    const map = constant(numbers(71, [2, 3, 4, 5]));
    const weights = { "net.conv.weight": numbers(72, [3, 3, 3, 3]), "net.conv.bias": numbers(73, [3]) };
    const doubled = upsampleConv2d(conv, map);
    expect(doubled.shape).toEqual([2, 3, 8, 10]);
    const expected = await evaluate(conv2d(conv, resizeNearest(map, 2), 3), weights);
    expectClose(await evaluate(doubled, weights), expected);
    // the plain form has a gradient and room for adapters
    const training = rootScope({ prefix: "net", mode: "training" }).at("conv");
    expect(upsampleConv2d(training, map).source).toMatchObject({
      node: { inputs: [{ shape: [2, 3, 8, 10] }, {}, {}] },
    });
  });

  it("puts the class token first and adds positions", async () => {
    const [pixels, weight] = [numbers(19, [1, 3, 4, 4]), numbers(20, [2, 3, 2, 2])];
    const [classToken, positions] = [float32([1, 2], [10, 20]), float32([5, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])];
    const make = (token: Tensor, place: Tensor): Value =>
      patchTokens(constant(pixels), {
        imageSize: 4,
        weight: constant(weight),
        classToken: constant(token),
        positions: constant(place),
      });
    const plain = await evaluate(make(float32([1, 2], [0, 0]), float32([5, 2], new Float32Array(10))));
    expect(plain.slice(0, 2)).toEqual([0, 0]);
    const expected = plain.map((value, index) => value + index + 1 + (index === 0 ? 10 : index === 1 ? 20 : 0));
    expectClose(await evaluate(make(classToken, positions)), expected);
  });
});
