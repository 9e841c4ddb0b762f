/** @file The library as another program uses it, on the models that ship inside. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import * as laurel from "#laurel/index";

const device = laurel.openDevice();
afterAll(() => device.close());

test("the embedded models are opened, asked, and judge what they drew", async () => {
  const backend = await laurel.openBackend(device);
  const reward = await laurel.openReward(device);
  const request = { prompt: "a red circle", count: 3, seed: 1, steps: 4 };
  const { best, candidates } = await laurel.generate({ backend, reward }, request);
  expect(candidates.map(({ seed }) => seed).sort()).toEqual([1, 2, 3]);
  if (best === undefined) throw new Error("expected a best candidate");
  expect((await reward.score(request.prompt, [best.image])).scores).toEqual([best.score]);

  const { imageSize } = reward;
  const pixels = laurel.float32([1, 3, imageSize, imageSize], laurel.preprocessClip(best.image, imageSize));
  const slope = await reward.gradient(request.prompt, pixels);
  expect(slope.scores[0]).toBeCloseTo(best.score ?? Number.NaN, 3);
  expect(slope.gradient.shape).toEqual(pixels.shape);

  const parent = await mkdtemp(join(tmpdir(), "laurel-test-"));
  const models = { backend, reward };
  const run = await laurel.finishRun(await laurel.startRun(parent, models, request), models);
  expect(laurel.rankedCandidates(run).map(({ seed, score }) => ({ seed, score }))).toEqual(
    candidates.map(({ seed, score }) => ({ seed, score })),
  );
  expect(run.manifest.models.reward).toMatchObject({ name: "image-reward", path: null });
  await rm(parent, { recursive: true });
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
