import { describe, expect, it } from "vitest";
import { gradient } from "#laurel/autodiff/gradient";
import { gather, graph, input } from "#laurel/graph/builder";
import type { Value } from "#laurel/graph/builder";
import { float32, int64 } from "#laurel/tensor/tensor";
import { evaluate } from "./evaluate.js";
import { relativeDifference } from "./golden.js";

describe("the gradient of Gather", () => {
  it("counts every repetition of an index, on several threads", async () => {
    const [rows, width, picks] = [50, 128, 8192];
    const table = input("table", "float32", [rows, width]);
    const picked = gather(table, input("index", "int64", ["N", 32]));
    const [sums] = gradient([{ value: picked, upstream: input("upstream", "float32", picked.shape) }], [table]) as [
      Value,
    ];
    const index = Array.from({ length: picks }, (_, k) => (k * 7) % rows);
    const upstream = Float32Array.from({ length: picks * width }, (_, k) => Math.sin(k));
    const expected = new Float64Array(rows * width);
    index.forEach((row, k) => {
      for (let c = 0; c < width; c++) {
        expected[row * width + c] = (expected[row * width + c] as number) + (upstream[k * width + c] as number);
      }
    });
    const feeds = { index: int64([picks / 32, 32], index), upstream: float32([picks / 32, 32, width], upstream) };
    for (let repetition = 0; repetition < 10; repetition++) {
      const { sums: actual } = await evaluate(graph("sums", { sums }), feeds, "all", 4);
      expect(relativeDifference(actual as never, float32([rows, width], expected))).toBeLessThan(1e-5);
    }
  });
});
