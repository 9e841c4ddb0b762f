import { expect, test } from "vitest";
import { shareBelow } from "#laurel/evaluation/explain";
import { digestModel } from "#laurel/pipeline/digest";
import { EMBEDDED_MODELS } from "#laurel/pipeline/package-info";
import { referenceScores } from "#laurel/pipeline/score-references";

test("ImageReward v1.0 is told by the shares its authors published", async () => {
  const reference = await referenceScores({ name: "image-reward", path: "/models/ImageReward.pt", digest: "0" });
  const within = (limit: number): number => shareBelow(reference!, limit) - shareBelow(reference!, -limit);
  expect([within(1), within(2), shareBelow(reference!, 0)]).toEqual([
    expect.closeTo(0.624, 10),
    expect.closeTo(0.982, 10),
    0.5,
  ]);
});

test.each([
  ["image-reward", EMBEDDED_MODELS.reward],
  ["clip-score", EMBEDDED_MODELS.judge],
])("the demo %s was measured with the weights that ship", async (name, path) => {
  // after the weights have changed: node test/reference/reference-scores.js
  const reference = await referenceScores({ name, path: null, digest: await digestModel(path) });
  expect(reference?.pictures).toBe("the pictures the demo model draws");
  const points = reference!.points;
  expect(points).toHaveLength(101);
  expect([points[0]!.share, points[100]!.share]).toEqual([0, 1]);
  points.slice(1).forEach(({ score }, i) => expect(score).toBeGreaterThanOrEqual(points[i]!.score));
  // the pictures differ, and so do their scores
  expect(points[90]!.score - points[10]!.score).toBeGreaterThan(0.05);
});

test("of other rewards nothing is claimed", async () => {
  expect(await referenceScores({ name: "image-reward", path: "/mine/own.safetensors", digest: "0" })).toBeUndefined();
  expect(await referenceScores({ name: "clip-score", path: "/models/ImageReward.pt", digest: "0" })).toBeUndefined();
  expect(await referenceScores({ name: "brightness", path: null, digest: null })).toBeUndefined();
});
