/** @file The best of many that differ: against brute force and closed forms. */

import { describe, expect, test } from "vitest";
import { cosine } from "#laurel/rewards/image-embedder";
import { diverseBest, farthestFirst, goodEnough } from "#laurel/strategies/diverse";
import { smallRandom } from "#laurel/util/statistics";

const at = (degrees: number): Float32Array =>
  Float32Array.of(Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180));

describe("farthest first", () => {
  test("takes directions that halve the gaps", () => {
    const degrees = [0, 10, 85, 170, 180, 45];
    expect([...farthestFirst(degrees.map(at), 4)].map((place) => degrees[place])).toEqual([0, 180, 85, 45]);
  });

  test("is never further from the best choice than twice: the guarantee of its paper, by brute force", () => {
    const random = smallRandom(5);
    for (let trial = 0; trial < 50; trial++) {
      const vectors = Array.from({ length: 9 }, () => at(random() * 360));
      // angles are a metric, and order pairs as cosines do
      const angle = (a: number, b: number): number => Math.acos(Math.min(1, Math.max(-1, cosine(vectors[a]!, vectors[b]!)))); // prettier-ignore
      const least = (places: readonly number[]): number =>
        Math.min(...places.flatMap((a, i) => places.slice(i + 1).map((b) => angle(a, b))));
      let best = 0;
      for (let a = 1; a < 9; a++) for (let b = a + 1; b < 9; b++) best = Math.max(best, least([0, a, b]));
      expect(least([...farthestFirst(vectors, 3)])).toBeGreaterThanOrEqual(best / 2 - 1e-6);
    }
  });

  test("takes the earlier of two alike, no more than there are, and none of none", () => {
    expect([...farthestFirst([at(0), at(90), at(90)], 2)]).toEqual([0, 1]);
    expect([...farthestFirst([at(0), at(0)], 5)]).toEqual([0, 1]);
    expect(farthestFirst([], 3).size).toBe(0);
  });
});

describe("good enough", () => {
  // mean 0, standard deviation 1
  const scores = [1, -1, 1, -1, 1, -1];
  const candidates = scores.map((score, index) => ({ index, score }));

  test("is what is within the margin of the mean of those that would be kept otherwise", () => {
    expect(goodEnough(candidates, 1).map(({ index }) => index)).toEqual([0, 2, 4]);
    expect(goodEnough(candidates, 1, { margin: 2 }).map(({ index }) => index)).toEqual([0, 2, 4, 1, 3, 5]);
    const falling = [10, 7, 5, 4, 0].map((score, index) => ({ index, score }));
    // the standard deviation is 3.3, the mean of the two best 8.5
    expect(goodEnough(falling, 2, { margin: 1 }).map(({ index }) => index)).toEqual([0, 1]);
    expect(goodEnough(falling, 2, { margin: 1.1 }).map(({ index }) => index)).toEqual([0, 1, 2]);
  });

  test("is as many as are kept, where so many have a score", () => {
    expect(goodEnough(candidates, 4).map(({ index }) => index)).toEqual([0, 2, 4, 1]);
    expect(goodEnough([{ index: 0, score: null }, { index: 1, score: 3 }], 2).map(({ index }) => index)).toEqual([1]); // prettier-ignore
    expect(goodEnough([{ index: 0, score: null }], 2)).toEqual([]);
  });
});

test("the kept are the best and those least like it, best first, and never one far below", async () => {
  const degrees = [3, 0, 40, 90, 180];
  const scores = [0.9, 1, 0.8, 0.7, -3];
  const candidates = scores.map((score, index) => ({ index, score }));
  const asked: number[][] = [];
  const embed = (some: readonly { index: number }[]): Promise<Float32Array[]> => {
    asked.push(some.map(({ index }) => index));
    return Promise.resolve(some.map(({ index }) => at(degrees[index]!)));
  };
  expect((await diverseBest(candidates, 2, embed)).map(({ index }) => index)).toEqual([1, 3]);
  expect((await diverseBest(candidates, 3, embed)).map(({ index }) => index)).toEqual([1, 2, 3]);
  // only what may be kept is embedded, and nothing where there is nothing to choose
  expect(asked).toEqual([[1, 0, 2, 3], [1, 0, 2, 3]]); // prettier-ignore
  expect((await diverseBest(candidates, 1, embed)).map(({ index }) => index)).toEqual([1]);
  expect((await diverseBest(candidates, 5, embed)).map(({ index }) => index)).toEqual([1, 0, 2, 3, 4]);
  expect(asked).toHaveLength(2);
});
