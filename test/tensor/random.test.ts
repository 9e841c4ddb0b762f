import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { TorchGenerator } from "#laurel/tensor/random";

interface Draw {
  size: number;
  randn: string;
}
interface Fixture {
  single: (Draw & { seed: number })[];
  calls: { seed: number; calls: Draw[] }[];
  mixed: {
    seed: number;
    uniform: string;
    randint: { low: number; high: number; values: number[] }[];
    randperm: number[][];
    after: string;
  };
}
const fixture = JSON.parse(readFileSync(new URL("../fixtures/random/torch.json", import.meta.url), "utf8")) as Fixture;

function floats(base64: string): Float32Array {
  const bytes = Buffer.from(base64, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** torch's float32 log, sin and cos differ from exact ones in the last bits; normals reach about 5, so 2e-6 is some ulps. */
function expectNormals(actual: Float32Array, golden: string): void {
  const expected = floats(golden);
  expect(actual.length).toBe(expected.length);
  let worst = 0;
  for (let i = 0; i < expected.length; i++)
    worst = Math.max(worst, Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)));
  expect(worst).toBeLessThanOrEqual(2e-6);
}

describe("TorchGenerator", () => {
  for (const { seed, size, randn } of fixture.single) {
    it(`draws torch.randn(${size}) of seed ${seed}`, () => {
      expectNormals(new TorchGenerator(seed).randn(size), randn);
    });
  }

  for (const { seed, calls } of fixture.calls) {
    it(`goes on as torch does over calls of ${calls.map((call) => call.size).join(", ")} values`, () => {
      const generator = new TorchGenerator(seed);
      for (const call of calls) expectNormals(generator.randn(call.size), call.randn);
    });
  }

  it("draws uniforms, whole numbers and permutations exactly as torch does", () => {
    const { mixed } = fixture;
    const generator = new TorchGenerator(mixed.seed);
    expect(generator.uniform(20)).toEqual(floats(mixed.uniform));
    for (const { low, high, values } of mixed.randint) {
      expect(Array.from(generator.randint(low, high, values.length)), `[${low}, ${high})`).toEqual(values);
    }
    for (const order of mixed.randperm) expect(Array.from(generator.randperm(order.length))).toEqual(order);
    expectNormals(generator.randn(4), mixed.after);
  });

  it("goes on from a saved state, including the waiting second normal", () => {
    const generator = new TorchGenerator(5);
    generator.randn(3);
    const state = structuredClone(generator.state());
    const expected = [generator.randn(1), generator.randn(700), generator.random32()];
    const restored = TorchGenerator.restore(state);
    expect([restored.randn(1), restored.randn(700), restored.random32()]).toEqual(expected);
  });

  it("gives states that later draws do not change", () => {
    const generator = new TorchGenerator(5);
    const state = generator.state();
    generator.randn(1000);
    expect(TorchGenerator.restore(state).random32()).toBe(new TorchGenerator(5).random32());
  });

  it("refuses seeds that are not whole numbers from 0", () => {
    for (const seed of [-1, 0.5, NaN, 2 ** 53])
      expect(() => new TorchGenerator(seed)).toThrow(/^seed: expected .*, got /);
  });
});
