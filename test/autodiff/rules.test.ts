import { describe, expect, it } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { graph, input } from "#laurel/graph/builder";
import type { Graph, Value } from "#laurel/graph/builder";
import { OP_ATTRIBUTES } from "#laurel/graph/op-attributes";
import { RULES } from "#laurel/autodiff/rules/index";
import type { RuleTable } from "#laurel/autodiff/rule";
import { verify } from "#laurel/graph/verify";
import type { Tensor } from "#laurel/tensor/tensor";
import { BUILDS } from "./cases.js";
import { evaluate } from "./evaluate.js";
import type { GoldenCase } from "./golden.js";
import { decode, goldenCases, relativeDifference } from "./golden.js";

/** float32 arithmetic against float64: the rounding of a few dozen operations. */
const TOLERANCE = 1e-5;

interface Built {
  readonly graph: Graph;
  readonly feeds: Record<string, Tensor>;
}

/** The graph of a case's outputs and gradients, with a symbolic or a static batch. */
function build(golden: GoldenCase, symbolic: boolean, rules?: RuleTable): Built {
  const feeds: Record<string, Tensor> = {};
  const values: Record<string, Value> = {};
  for (const [name, entry] of Object.entries(golden.inputs)) {
    const tensor = decode(entry);
    feeds[name] = tensor;
    const shape = symbolic && golden.batched.includes(name) ? ["N", ...tensor.shape.slice(1)] : tensor.shape;
    values[name] = input(name, tensor.dtype, shape);
  }
  const built = (BUILDS[golden.name] as NonNullable<(typeof BUILDS)[string]>)(values);
  const outputs = Array.isArray(built) ? built : [built];
  const seeds = outputs.flatMap((value, index) => {
    const expected = golden.outputs[index];
    if (value === undefined || !expected) return [];
    feeds[`upstream${index}`] = decode(expected.upstream);
    return [{ value, upstream: input(`upstream${index}`, value.dtype, value.shape) }];
  });
  const targets = Object.keys(golden.gradients);
  const gradients = gradient(
    seeds,
    targets.map((name) => values[name] as Value),
    rules,
  );
  return {
    graph: graph(golden.name, {
      ...Object.fromEntries(outputs.flatMap((value, i) => (value === undefined ? [] : [[`y${i}`, value]]))),
      ...Object.fromEntries(targets.map((name, i) => [`d${name}`, gradients[i] as Value])),
    }),
    feeds,
  };
}

/** The largest relative difference of the case's gradients. */
function worst(golden: GoldenCase, results: Record<string, Tensor>): number {
  const differences = Object.entries(golden.gradients).map(([name, entry]) =>
    relativeDifference(results[`d${name}`] as Tensor, decode(entry)),
  );
  return differences.some(Number.isNaN) ? Number.NaN : Math.max(...differences);
}

const cases = goldenCases();

describe.each(cases)("$name", (golden) => {
  it.each([
    { batch: "static", symbolic: false },
    { batch: "symbolic", symbolic: true },
  ])("agrees with PyTorch in float64 with a $batch batch", async ({ symbolic }) => {
    const { graph: built, feeds } = build(golden, symbolic);
    verify(built);
    const results = await evaluate(built, feeds);
    golden.outputs.forEach((expected, i) => {
      if (expected)
        expect(relativeDifference(results[`y${i}`] as Tensor, decode(expected.value))).toBeLessThan(TOLERANCE);
    });
    for (const [name, entry] of Object.entries(golden.gradients)) {
      expect(results[`d${name}`]?.shape).toEqual(entry.shape);
    }
    expect(worst(golden, results)).toBeLessThan(TOLERANCE);
  });

  it("agrees with itself when ONNX Runtime does not optimise", async () => {
    const { graph: built, feeds } = build(golden, true);
    const [on, off] = [await evaluate(built, feeds), await evaluate(built, feeds, "disabled")];
    for (const name of Object.keys(golden.gradients)) {
      expect(relativeDifference(on[`d${name}`] as Tensor, off[`d${name}`] as Tensor)).toBeLessThan(TOLERANCE);
    }
  });
});

describe("the golden values", () => {
  it("cover every op that has a rule", () => {
    const covered = new Set(cases.map(({ op }) => op));
    const zeroDerivative = ["Floor"]; // tested as Sign, the same rule
    const missing = Object.keys(OP_ATTRIBUTES).filter(
      (op) => RULES[op as keyof RuleTable] !== "nondifferentiable" && !covered.has(op) && !zeroDerivative.includes(op),
    );
    expect(missing).toEqual([]);
  });

  it("catch a rule that is wrong by 0.05 %", async () => {
    const { mul } = await import("#laurel/graph/builder");
    for (const [op, name] of [
      ["Conv", "conv 3x3 padded"],
      ["Softmax", "softmax"],
      ["Gelu", "gelu"],
      ["LayerNormalization", "layer norm"],
      ["Tanh", "tanh"],
    ] as const) {
      const golden = cases.find((candidate) => candidate.name === name) as GoldenCase;
      const right = RULES[op];
      if (right === "nondifferentiable") throw new Error(`expected a rule of ${op}`);
      const wrong = (context: never): (Value | undefined)[] =>
        (right as unknown as (context: never) => (Value | undefined)[])(context).map(
          (part) => part && mul(part, 1.0005),
        );
      const { graph: built, feeds } = build(golden, true, { ...RULES, [op]: wrong });
      expect(worst(golden, await evaluate(built, feeds))).toBeGreaterThan(10 * TOLERANCE);
    }
  });
});
