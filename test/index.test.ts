/** @file The library as another program uses it: open, choose, store, read back. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import * as laurel from "#laurel/index";
import { createBrightnessReward } from "./backends/brightness-reward.js";
import { newRun } from "./pipeline/runs.js";
import { fileURLToPath } from "node:url";

const device = laurel.openDevice();
afterAll(() => device.close());

test("best of n on a device, without the command line", async () => {
  const model = await laurel.openStableDiffusion(
    fileURLToPath(new URL("fixtures/models/tiny-sd", import.meta.url)),
    device,
  );
  const backend = laurel.createLocalBackend(model);
  const unset = {
    negativePrompt: undefined,
    guidance: undefined,
    width: undefined,
    height: undefined,
    batch: undefined,
  };
  const { request } = laurel.resolveRequest(backend, {
    ...unset,
    prompt: "a cat",
    seed: 1,
    count: 3,
    steps: 2,
    sampler: "euler",
  });
  const events: laurel.StrategyEvent[] = [];
  for await (const event of laurel.bestOfN.run({
    backend,
    reward: createBrightnessReward(),
    request,
    budget: { candidates: 3 },
  })) {
    events.push(event);
  }
  const done = events.at(-1);
  expect(done).toMatchObject({ type: "done", reason: "complete", evaluations: 12 });
  expect(done?.type === "done" ? done.ranking.map(({ seed }) => seed).sort() : []).toEqual([1, 2, 3]);
});

test("a graph is built, differentiated and run through the surface alone", async () => {
  const x = laurel.ops.input("x", "float32", ["N"]);
  const y = laurel.ops.reduceSum(laurel.ops.mul(x, x), [0], { keepDims: false });
  const [slope] = laurel.gradient(y, [x]);
  if (slope === undefined) throw new Error("expected a gradient");
  const program = await device.compile(laurel.ops.graph("square", { y, slope }));
  const { y: value, slope: gradient } = await program.run({ x: laurel.float32([3], [1, 2, 3]) });
  expect([...(value?.data ?? [])]).toEqual([14]);
  expect([...(gradient?.data ?? [])]).toEqual([2, 4, 6]);
  await program.dispose();
});

test("runs are made and read", async () => {
  const parent = await mkdtemp(join(tmpdir(), "laurel-test-"));
  const run = await laurel.createRun(parent, newRun());
  await run.close();
  expect((await laurel.readRun(run.directory)).manifest.runId).toBe(run.manifest.runId);
  await rm(parent, { recursive: true });
});
