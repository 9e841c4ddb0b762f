import { expect, test } from "vitest";
import { CancelledError, UsageError } from "#laurel/errors";
import { DEFAULT_COUNT, generate } from "#laurel/library/generate";
import { bestOfN } from "#laurel/strategies/best-of-n";
import type { Strategy } from "#laurel/strategies/contract";
import { embedPictures } from "#laurel/rewards/image-embedder";
import { diverseBest } from "#laurel/strategies/diverse";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";

const models = { backend: createProceduralBackend(), reward: createBrightnessReward() };

test("candidates come best first with their pictures, and the request says what was chosen", async () => {
  const result = await generate(models, { prompt: "a few rectangles", count: 6, seed: 40 });
  const { candidates, best, request } = result;
  expect(candidates.map(({ rank }) => rank)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(candidates.map(({ seed }) => seed).sort()).toEqual([40, 41, 42, 43, 44, 45]);
  const scores = candidates.map(({ score }) => score ?? Number.NaN);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  expect(best).toBe(candidates[0]);
  for (const { image, score } of candidates) {
    const [again] = (await models.reward.score("a few rectangles", [image])).scores;
    expect(score).toBe(again);
  }
  expect(request).toMatchObject({ seed: 40, count: 6, steps: 4, sampler: "paint", width: 16, height: 16, batch: 4 });
  expect(result).toMatchObject({ reason: "complete", evaluations: 24, warnings: [] });
});

test("what a search did on the way comes with its candidates", async () => {
  const look = { type: "look", index: 0, step: 2, score: 0.5 } as const;
  const strategy: Strategy = {
    name: "looking",
    async *run(context) {
      yield look;
      yield* bestOfN.run(context);
    },
  };
  expect((await generate(models, { prompt: "x", count: 2 }, { strategy })).search).toEqual([look]);
  expect((await generate(models, { prompt: "x", count: 2 })).search).toEqual([]);
});

test("without a seed each call draws others; without a count there are sixteen", async () => {
  const first = await generate(models, { prompt: "x" });
  const second = await generate(models, { prompt: "x" });
  expect(first.candidates).toHaveLength(DEFAULT_COUNT);
  expect(first.request.seed).not.toBe(second.request.seed);
});

test("settings that cannot be honoured are warnings, settings that cannot be are errors", async () => {
  const { warnings } = await generate(models, { prompt: "x", count: 2, guidance: 3 });
  expect(warnings).toEqual(["procedural: guidance is not supported and was left out, got 3"]);
  for (const wrong of [
    { count: 0 },
    { count: 1.5 },
    { count: Number.NaN },
    { seed: -1 },
    { width: 17 },
    { steps: 0 },
  ]) {
    await expect(generate(models, { prompt: "x", ...wrong })).rejects.toBeInstanceOf(UsageError);
  }
  await expect(generate(models, { prompt: "  " })).rejects.toThrow("prompt: expected some text, got an empty prompt");
});

test("a budget of evaluations ends the work at the end of a group", async () => {
  const { candidates, reason } = await generate(models, { prompt: "x", count: 12 }, { budget: { evaluations: 16 } });
  expect(reason).toBe("evaluations");
  expect(candidates).toHaveLength(4);
});

test("no more is held than is kept: the best, or good ones that differ", async () => {
  const all = await generate(models, { prompt: "x", count: 32, seed: 5 });
  const best = await generate(models, { prompt: "x", count: 32, seed: 5 }, { keep: 3 });
  expect(best.candidates).toEqual(all.candidates.slice(0, 3));
  const differing = await generate(models, { prompt: "x", count: 32, seed: 5 }, { keep: 3, diverse: true });
  const expected = await diverseBest(all.candidates, 3, (good) => embedPictures(good.map(({ image }) => image)));
  expect(differing.candidates).toEqual(expected);
  expect(differing.candidates).not.toEqual(best.candidates);
  await expect(generate(models, { prompt: "x" }, { keep: 0 })).rejects.toThrow("keep: expected a whole number from 1, got 0"); // prettier-ignore
});

test("each candidate is told of with its score", async () => {
  const told: [number, number | null][] = [];
  const { candidates } = await generate(
    models,
    { prompt: "x", count: 5 },
    { onCandidate: ({ index }, score) => told.push([index, score]) },
  );
  expect(told).toEqual(
    candidates.map(({ index, score }) => [index, score]).sort((a, b) => Number(a[0]) - Number(b[0])),
  );
});

test("an aborted signal ends it with CancelledError; an error in a callback ends it with that error", async () => {
  const controller = new AbortController();
  const slow = { ...models, backend: createProceduralBackend({ groupMs: 5000 }) };
  const cancelled = generate(slow, { prompt: "x", count: 2 }, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await expect(cancelled).rejects.toBeInstanceOf(CancelledError);
  const onCandidate = (): never => {
    throw new RangeError("enough");
  };
  await expect(generate(models, { prompt: "x" }, { onCandidate })).rejects.toThrow(RangeError);
});

test("a strategy that ends without a last event is named", async () => {
  const strategy: Strategy = { name: "forgetful", async *run() {} };
  await expect(generate(models, { prompt: "x" }, { strategy })).rejects.toThrow(
    'strategy forgetful: expected a last event "done", got none',
  );
});
