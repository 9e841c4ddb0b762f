import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type MeasuredPhrasing, measureRefinement, refinementFigures } from "#laurel/library/demo-refinement";
import { vocabularyFile } from "#laurel/library/refiners";
import { createEvolve } from "#laurel/strategies/refine/evolve";
import { refineWith } from "#laurel/strategies/refine/refine";
import { readVocabulary } from "#laurel/strategies/refine/vocabulary";
import { createBrightnessReward } from "../backends/brightness-reward.js";
import { createProceduralBackend } from "../backends/procedural-backend.js";
import { temporaryFolder } from "../pipeline/runs.js";

test("measures what its file lacks; both sides draw as many candidates", async () => {
  const file = join(await temporaryFolder(), "measured.jsonl");
  const strategy = refineWith(createEvolve(await readVocabulary(vocabularyFile("shapes"))));
  let candidates = 0;
  const backend = createProceduralBackend({ onRequest: ({ count }) => (candidates += count) });
  const models = { backend, reward: createBrightnessReward() };
  const measure = (phrasings: number): Promise<MeasuredPhrasing[]> =>
    measureRefinement({ models, strategy, vocabulary: "shapes", phrasings, budget: 16, split: "held-out", file });
  const first = await measure(2);
  expect(candidates).toBe(2 * 2 * 16);
  await appendFile(file, '{"index":2,"torn');
  const more = await measure(3);
  expect(candidates).toBe(3 * 2 * 16);
  expect(more.slice(0, 2)).toEqual(first);
  await appendFile(file, '{"index":9}\n');
  await expect(measure(3)).rejects.toThrow(/measured\.jsonl:5: expected a measured phrasing/);
});

test("figures are paired, over distinct descriptions", () => {
  const one = (index: number, canonical: string, before: boolean, after: boolean): MeasuredPhrasing => ({
    index,
    budget: 8,
    split: "held-out",
    vocabulary: "shapes",
    canonical,
    prompt: "p",
    refined: after ? "q" : "p",
    bestOfN: { holds: before, score: 0, share: 0.25 },
    refine: { holds: after, score: 1, share: 0.75 },
  });
  const figures = refinementFigures([
    one(0, "a", false, true),
    one(1, "a", false, true),
    one(2, "b", true, true),
    one(3, "c", false, false),
  ]);
  expect(figures).toMatchObject({ phrasings: 4, descriptions: 3, budget: 8 });
  expect(figures.chosen.bestOfN.estimate).toBe(0.25);
  expect(figures.chosen.refine.estimate).toBe(0.75);
  expect(figures.chosen.difference).toEqual({ estimate: 0.5, low: 0, high: 1 });
  expect(figures.single.difference).toEqual({ estimate: 0.5, low: 0.5, high: 0.5 });
  expect(figures.replaced.estimate).toBe(0.75);
});
