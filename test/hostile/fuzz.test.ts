/** @file A short fuzz of every parser with a fixed seed; `npm run fuzz` goes on for as long as it is told. */

import { afterAll, expect, test } from "vitest";
import { fuzz, type Target } from "./fuzz/engine.js";
import { mutateBytes } from "./fuzz/mutate.js";
import { makeTargets } from "./fuzz/targets.js";

const { targets, dispose } = makeTargets();
afterAll(dispose);

const INPUTS = 120;

test.each(targets.map((target) => [target.name, target] as const))("%s", async (_, target) => {
  const { failure, inputs, outcomes } = await fuzz(target, { seed: 7, inputs: INPUTS });
  expect(failure?.reason, failure?.input.toString("base64")).toBeUndefined();
  expect(inputs).toBe(INPUTS);
  // Mutations that all meet the same check would prove nothing.
  expect(outcomes).toBeGreaterThan(2);
});

test("the fuzzer finds a parser that throws something else, one that dawdles", async () => {
  const faulty = (run: Target["run"]): Target => ({
    name: "faulty",
    seeds: () => [Buffer.from("good")],
    mutate: mutateBytes,
    run,
  });
  const strange = faulty((input) => {
    if (input.toString("latin1") !== "good") throw new TypeError("undefined is not a function");
  });
  expect((await fuzz(strange, { seed: 1, inputs: 50 })).failure?.reason).toContain("undefined is not a function");
  const slow = faulty((input) => {
    const { user } = process.cpuUsage();
    while (input.length > 6 && process.cpuUsage().user - user < 1.2e6);
  });
  expect((await fuzz(slow, { seed: 1, inputs: 50 })).failure?.reason).toMatch(/^it took \d+ ms$/);
});

test("equal seeds try equal inputs", async () => {
  const tried: string[][] = [];
  for (let i = 0; i < 2; i++) {
    const seen: string[] = [];
    const target: Target = {
      name: "recorder",
      seeds: () => [Buffer.from("good")],
      mutate: mutateBytes,
      run: (input) => void seen.push(input.toString("hex")),
    };
    await fuzz(target, { seed: 3, inputs: 40 });
    tried.push(seen);
  }
  expect(tried[0]).toEqual(tried[1]);
  expect(new Set(tried[0]).size).toBeGreaterThan(20);
});
