import { afterAll, describe, expect, test } from "vitest";
import { graph, input } from "#laurel/graph/builder";
import type { OpType } from "#laurel/graph/builder";
import { OPS } from "#laurel/graph/op-table";
import { OP_ATTRIBUTES } from "#laurel/graph/op-attributes";
import { verify } from "#laurel/graph/verify";
import { openDevice } from "#laurel/runtime/device";
import { ROWS } from "./op-rows.js";
import type { Row } from "./op-rows.js";

const device = openDevice();
afterAll(() => device.close());

async function check(op: OpType, { operands, apply, shape, values }: Row): Promise<void> {
  const inputs = operands.map((tensor, index) => input(`x${index}`, tensor.dtype, tensor.shape));
  const outputs = [apply(...inputs)].flat();
  const built = verify(graph(op, Object.fromEntries(outputs.map((value, index) => [`y${index}`, value]))));
  expect(built.nodes.map((node) => node.op)).toContain(op);
  const program = await device.compile(built);
  const fed = operands
    .map((tensor, index) => [`x${index}`, tensor] as const)
    .filter(([name]) => built.inputs.has(name));
  const results = Object.values(await program.run(Object.fromEntries(fed)));
  await program.dispose();
  for (const [index, result] of results.entries()) {
    expect(result.shape).toEqual(shape);
    expect(outputs[index]?.shape).toEqual(shape);
    expect(result.dtype).toBe(outputs[index]?.dtype);
  }
  const got = results.flatMap((result) => Array.from(result.data as ArrayLike<number | bigint>, Number));
  expect(got).toHaveLength(values.length);
  // float32 rounds to 6e-8 of the value; ONNX Runtime's Erf, Tanh and Exp are approximations good to 1e-6.
  got.forEach((value, index) =>
    expect(Math.abs(value - (values[index] as number))).toBeLessThan(2e-6 * (1 + Math.abs(value))),
  );
}

describe("each op computes what its row says", () => {
  for (const [op, rows] of Object.entries(ROWS) as [OpType, readonly Row[]][]) {
    test(`${op} (${rows.length})`, async () => {
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) await check(op, row);
    });
  }
});

test("the table of ops and the table of attributes have the same keys", () => {
  expect(Object.keys(OPS).sort()).toEqual(Object.keys(OP_ATTRIBUTES).sort());
});
