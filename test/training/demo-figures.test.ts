import { describe, expect, it } from "vitest";
import type { JudgedImage, JudgedPrompt } from "#laurel/training/demo-figures";
import { demoFigures } from "#laurel/training/demo-figures";

const image = (verdict: JudgedImage["verdict"], good: number, bad: number): JudgedImage => ({
  verdict,
  scores: { good, bad },
});

// Worked by hand: singles 1/4, 2/4, 0/4, 1/4 -> mean 0.25; the oracle finds one in three of four prompts.
const PROMPTS: JudgedPrompt[] = [
  {
    prompt: "a",
    pair: true,
    images: [image("holds", 2, 0), image("fails", 1, 1), image("fails", 0, 2), image("unreadable", -1, 3)],
  },
  {
    prompt: "b",
    pair: false,
    images: [image("holds", 2, 0), image("holds", 3, 1), image("fails", 0, 2), image("fails", 1, 3)],
  },
  {
    prompt: "c",
    pair: true,
    images: [image("fails", 2, 0), image("fails", 1, 1), image("fails", 0, 2), image("fails", -1, 3)],
  },
  {
    prompt: "d",
    pair: false,
    images: [image("holds", 0, 5), image("fails", 1, 1), image("fails", 0, 2), image("fails", -1, 3)],
  },
];

describe("demoFigures", () => {
  const figures = demoFigures(PROMPTS);

  it("counts single images, unreadable ones as wrong", () => {
    expect(figures.single.estimate).toBe(0.25);
    expect(figures.singleOneShape.estimate).toBe(0.375);
    expect(figures.singleTwoShapes.estimate).toBe(0.125);
    expect(figures.unreadable.estimate).toBe(1 / 16);
    expect(figures.oracleBestOfN.estimate).toBe(0.75);
  });

  it("gives a reward the share of the oracle's gain that choosing by it captures", () => {
    expect(figures.rewards["good"]?.bestOfN.estimate).toBe(0.5);
    expect(figures.rewards["good"]?.captured.estimate).toBe((0.5 - 0.25) / (0.75 - 0.25));
    expect(figures.rewards["bad"]?.captured.estimate).toBe((0.25 - 0.25) / (0.75 - 0.25));
  });

  it("counts equal scores of a pair as wrong", () => {
    // a: 3 of 3, b: 4 of 4, d: 1 of 3 (one lower, one equal)
    expect(figures.rewards["good"]?.pairAccuracy.estimate).toBe(8 / 10);
  });
});
