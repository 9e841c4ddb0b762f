import { describe, expect, it } from "vitest";
import { preferencePairs, rankedGroups, selectedImages, type UnrankedImage } from "#laurel/export/datasets/pairs";
import type { DatasetImage } from "#laurel/export/datasets/rows";

function image(prompt: string, score: number, seed: number): UnrankedImage {
  const made = { width: 1, height: 1, bytes: 1, sha256: `${prompt}${seed}`, path: `/${prompt}/${seed}.png` };
  const where = { runId: "run", item: null, index: seed, backend: "b", model: "m", reward: "r" };
  return { ...made, ...where, prompt, promptId: prompt, drawn: prompt, seed, score };
}

const groups = rankedGroups(
  [image("a", 0.5, 1), image("b", -1, 2), image("a", 2, 3), image("a", 0.5, 4), image("b", -1, 5), image("a", -1, 6)],
  ({ prompt }) => prompt,
);

function shown(pairs: readonly { readonly better: DatasetImage; readonly worse: DatasetImage }[]): string[] {
  return pairs.map(({ better, worse }) => `${better.seed}>${worse.seed}`);
}

describe("rankedGroups", () => {
  it("puts pictures of a prompt together, best first; equal scores share a rank, and the next rank counts them", () => {
    expect(groups.map((group) => group.map(({ seed, rank }) => [seed, rank]))).toEqual([
      [
        [3, 1],
        [1, 2],
        [4, 2],
        [6, 4],
      ],
      [
        [2, 1],
        [5, 1],
      ],
    ]);
  });
});

describe("preferencePairs", () => {
  it("makes every pair but the ties, the widest first", () => {
    expect(shown(preferencePairs(groups))).toEqual(["3>6", "3>1", "3>4", "1>6", "4>6"]);
  });

  it("leaves out pairs whose scores differ by less than the margin, and keeps those at it", () => {
    expect(shown(preferencePairs(groups, { margin: 1.5 }))).toEqual(["3>6", "3>1", "3>4", "1>6", "4>6"]);
    expect(shown(preferencePairs(groups, { margin: 1.6 }))).toEqual(["3>6"]);
  });

  it("never takes a tie, whatever the margins", () => {
    expect(preferencePairs(groups.slice(1), { margin: 0, rankMargin: 0 })).toEqual([]);
  });

  it("leaves out pairs whose ranks differ by less than the rank margin", () => {
    expect(shown(preferencePairs(groups, { rankMargin: 2 }))).toEqual(["3>6", "1>6", "4>6"]);
  });

  it("keeps the widest pairs of each prompt", () => {
    expect(shown(preferencePairs(groups, { maxPairsPerPrompt: 2 }))).toEqual(["3>6", "3>1"]);
    const many = rankedGroups(
      Array.from({ length: 200 }, (_, i) => image("many", i, i)),
      ({ prompt }) => prompt,
    );
    expect(shown(preferencePairs(many, { maxPairsPerPrompt: 3 }))).toEqual(["199>0", "199>1", "198>0"]);
  });

  it("refuses more than a million pairs instead of filling the memory", () => {
    const many = rankedGroups(
      Array.from({ length: 2000 }, (_, i) => image("many", i, i)),
      ({ prompt }) => prompt,
    );
    expect(() => preferencePairs(many)).toThrow("pairs: expected at most 1000000, got more");
  });
});

describe("selectedImages", () => {
  it("takes the best of each prompt that score enough", () => {
    expect(selectedImages(groups, { topK: 1 }).map(({ seed }) => seed)).toEqual([3, 2]);
    expect(selectedImages(groups, { minScore: 0.5 }).map(({ seed }) => seed)).toEqual([3, 1, 4]);
    expect(selectedImages(groups, { minScore: 0.5, topK: 2 }).map(({ seed }) => seed)).toEqual([3, 1]);
    expect(selectedImages(groups)).toHaveLength(6);
  });
});
