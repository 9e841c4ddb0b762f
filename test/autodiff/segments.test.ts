import { describe, expect, it } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { segmentGradient } from "#laurel/autodiff/segments";
import type { SegmentRequest } from "#laurel/autodiff/segments";
import * as g from "#laurel/graph/builder";
import { verify } from "#laurel/graph/verify";
import { float32, int64 } from "#laurel/tensor/tensor";
import type { Tensor } from "#laurel/tensor/tensor";
import { TorchGenerator } from "#laurel/tensor/random";
import { evaluate } from "./evaluate.js";

type Feeds = Record<string, Tensor>;

const random = new TorchGenerator(7);
const draw = (...shape: number[]) => float32(shape, random.randn(shape.reduce((a, b) => a * b, 1)));
const total = (x: g.Value) =>
  g.reduceSum(
    x,
    x.shape.map((_, axis) => axis),
    { keepDims: false },
  );

/** Runs the steps over one table of kept values, as a device does, and returns what is left. Every graph passes the verifier. */
async function runSteps(request: SegmentRequest, feeds: Feeds): Promise<Feeds> {
  const kept = new Map(Object.entries(feeds));
  const results: Feeds = {};
  for (const { graph, fetch, hold, free } of segmentGradient(request)) {
    const outputs = await evaluate(verify(graph), Object.fromEntries(kept));
    for (const name of fetch) results[name] = outputs[name]!;
    for (const [output, name] of Object.entries(hold)) kept.set(name, outputs[output]!);
    for (const name of free) kept.delete(name);
  }
  const left = [...kept].filter(([name]) => !Object.hasOwn(feeds, name));
  return { ...results, ...Object.fromEntries(left) };
}

/** Loss, metrics and gradients by one program. */
async function runWhole({ loss, metrics = {}, targets }: SegmentRequest, feeds: Feeds): Promise<Feeds> {
  const gradients = gradient(loss, [...targets.values()]);
  const outputs = Object.fromEntries([...targets.keys()].map((name, index) => [name, gradients[index]!]));
  return evaluate(g.graph("whole", { loss, ...metrics, ...outputs }), feeds);
}

/** Largest difference over largest number. */
function difference(actual: Tensor, expected: Tensor): number {
  const [a, b] = [actual.data as Float32Array, expected.data as Float32Array];
  const scale = Math.max(...b.map(Math.abs));
  return Math.max(...b.map((x, index) => Math.abs(x - a[index]!))) / scale;
}

/** The same names and, to the rounding of sums in another order, the same numbers. */
async function expectEqual(request: SegmentRequest, feeds: Feeds): Promise<void> {
  const [pieces, whole] = [await runSteps(request, feeds), await runWhole(request, feeds)];
  expect(Object.keys(pieces).sort()).toEqual(Object.keys(whole).sort());
  for (const [name, tensor] of Object.entries(whole)) {
    expect(pieces[name]!.shape, name).toEqual(tensor.shape);
    expect(difference(pieces[name]!, tensor), name).toBeLessThan(1e-6);
  }
}

const x = g.input("x", "float32", ["N", 4]);
const [w1, w2, w3] = ["w1", "w2", "w3"].map((name) => g.parameter(name, [4, 4])) as [g.Value, g.Value, g.Value];
const weights = { w1: draw(4, 4), w2: draw(4, 4), w3: draw(4, 4) };
const all = new Map([
  ["d w1", w1],
  ["d w2", w2],
  ["d w3", w3],
]);
const feeds = { x: draw(3, 4), ...weights };
const layer = (input: g.Value, weight: g.Value) => g.tanh(g.gemm(input, weight, undefined, { transB: true }));

describe("a gradient in segments equals that of one program", () => {
  it("for a chain", async () => {
    const first = layer(x, w1);
    const second = layer(first, w2);
    const loss = total(layer(second, w3));
    const request = { name: "chain", loss, targets: all, cuts: [first, second] };
    expect(segmentGradient(request).map(({ graph }) => graph.name)).toEqual([
      "chain/1 forward",
      "chain/2 forward",
      "chain/3",
      "chain/2 backward",
      "chain/1 backward",
    ]);
    await expectEqual(request, feeds);
  });

  it("for a value that crosses several segments and is also read in its own", async () => {
    const first = layer(x, w1);
    const second = g.mul(layer(first, w2), first);
    const third = g.add(layer(second, w3), first);
    const loss = total(g.mul(third, g.concat([first], 0)));
    await expectEqual({ name: "skips", loss, targets: all, cuts: [first, second, third] }, feeds);
  });

  it("for a parameter that all segments use", async () => {
    const first = layer(x, w1);
    const second = layer(first, w1);
    const loss = total(layer(second, w1));
    await expectEqual({ name: "shared", loss, targets: new Map([["d w1", w1]]), cuts: [first, second] }, feeds);
  });

  it("for a boundary that is a metric, and a metric the loss does not depend on", async () => {
    const first = layer(x, w1);
    const middle = total(first);
    const loss = g.mul(total(layer(first, w2)), middle);
    const metrics = { middle, square: g.mul(middle, middle) };
    const targets = new Map([...all].slice(0, 2));
    await expectEqual({ name: "metrics", loss, metrics, targets, cuts: [first, middle] }, feeds);
  });

  it("for a value whose gradient does not need it", async () => {
    const first = layer(x, w1);
    const targets = new Map([["d w1", w1]]);
    await expectEqual({ name: "linear", loss: total(first), targets, cuts: [first] }, feeds);
  });

  it("for a segment before all targets, which has no backward pass", async () => {
    const first = layer(x, w1);
    const loss = total(layer(first, w2));
    const request = { name: "frozen", loss, targets: new Map([["d w2", w2]]), cuts: [first] };
    expect(segmentGradient(request).map(({ graph }) => graph.name)).toEqual(["frozen/1 forward", "frozen/2"]);
    await expectEqual(request, feeds);
  });

  it("for an input as the target", async () => {
    const first = layer(x, w1);
    const loss = total(layer(first, w2));
    await expectEqual({ name: "input", loss, targets: new Map([["d x", x]]), cuts: [first] }, feeds);
  });

  it("for token ids and masks, which each segment computes for itself", async () => {
    const ids = g.input("ids", "int64", ["N"]);
    const mask = g.sub(1, g.cast(g.equal(ids, g.constant(int64([], [0]))), "float32"));
    const rows = g.mul(g.gather(w1, ids, 0), g.unsqueeze(mask, [1]));
    const first = layer(rows, w2);
    const loss = total(g.mul(layer(first, w3), g.unsqueeze(mask, [1])));
    const request = { name: "ids", loss, targets: all, cuts: [first] };
    const names = segmentGradient(request).map(({ graph }) => [...graph.inputs.keys()]);
    expect(names).toEqual([["ids"], ["ids", "ids/value-0"], ["ids", "ids/value-0/gradient"]]);
    await expectEqual(request, { ...weights, ids: int64([3], [0, 2, 3]) });
  });
});

describe("what is kept between segments", () => {
  it("is freed by the step that reads it last, and nothing but the gradients is left", async () => {
    const first = layer(x, w1);
    const second = g.add(layer(first, w2), first);
    const loss = total(layer(second, w3));
    const request = { name: "kept", loss, targets: all, cuts: [first, second] };
    const left = await runSteps(request, feeds);
    expect(Object.keys(left).sort()).toEqual(["d w1", "d w2", "d w3", "loss"]);
    const freed = segmentGradient(request).flatMap(({ free }) => free);
    expect(new Set(freed).size).toBe(freed.length);
  });
});

describe("cutting at narrow places", () => {
  it("cuts a long chain into pieces of equal size where the chain is narrow", async () => {
    const wide = g.parameter("wide", [64, 4]);
    const narrow = g.parameter("narrow", [4, 64]);
    let state = g.input("rows", "float32", [64, 4]);
    for (let index = 0; index < 12; index++) {
      state = g.gemm(layer(state, wide), narrow, undefined, { transB: true });
    }
    const targets = new Map([
      ["d wide", wide],
      ["d narrow", narrow],
    ]);
    const request = { name: "refined", loss: total(state), targets, cuts: [], refine: true };
    const steps = segmentGradient(request);
    const forward = steps.filter(({ graph }) => graph.name.endsWith("forward"));
    expect(forward.length).toBeGreaterThan(2);
    for (const { graph } of forward) for (const value of graph.outputs.values()) expect(value.shape).toEqual([64, 4]);
    await expectEqual(request, { rows: draw(64, 4), wide: draw(64, 4), narrow: draw(4, 64) });
  });
});

describe("what cannot be", () => {
  it("names every target the loss does not depend on", () => {
    const request = { name: "bad", loss: total(layer(x, w1)), targets: all, cuts: [] };
    expect(() => segmentGradient(request)).toThrow(
      "bad: expected a loss that depends on d w2, d w3, got one that does not",
    );
  });

  it("refuses a target that is computed", () => {
    const first = layer(x, w1);
    const request = { name: "bad", loss: total(first), targets: new Map([["d first", first]]), cuts: [] };
    expect(() => segmentGradient(request)).toThrow("bad: expected target d first to be an input or a parameter");
  });
});
