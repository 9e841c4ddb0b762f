/** @file The held-out tenth, the near-miss groups and the free phrasings. */

import { describe, expect, it } from "vitest";
import {
  describeForTraining,
  evaluationPrompts,
  heldOutSingles,
  sampleGroup,
  sampleTrainingScene,
} from "#laurel/demo/dataset";
import { parseDescription, requireDescription } from "#laurel/demo/grammar";
import { phrase, turnDescription } from "#laurel/demo/phrasings";
import { createRandom } from "#laurel/demo/random";
import { describe as describeScene, sampleScene } from "#laurel/demo/scene";
import { isHeldOut, isHeldOutScene } from "#laurel/demo/split";

describe("held-out tenth", () => {
  it("holds out about a tenth of the descriptions of two shapes, whichever shape is named first", () => {
    const random = createRandom(3);
    let held = 0;
    for (let i = 0; i < 3000; i++) {
      const description = describeScene(random, sampleScene(random, 2));
      if (isHeldOut(description)) held++;
      expect(isHeldOut(turnDescription(description))).toBe(isHeldOut(description));
    }
    expect(held / 3000).toBeGreaterThan(0.08);
    expect(held / 3000).toBeLessThan(0.14);
  });

  it("never renders a held-out description in training, near misses included", () => {
    const random = createRandom(4);
    for (let i = 0; i < 300; i++) {
      for (const scene of [sampleTrainingScene(random), ...sampleGroup(random, 4)]) {
        expect(isHeldOutScene(scene)).toBe(false);
        expect(isHeldOut(describeForTraining(random, scene))).toBe(false);
        expect(isHeldOut(describeForTraining(random, scene, 1))).toBe(false);
      }
    }
  });

  it("gives 200 evaluation prompts, all canonical and held out, half of two shapes and all of those different", () => {
    const prompts = evaluationPrompts();
    const descriptions = prompts.map(requireDescription);
    expect(descriptions.every(isHeldOut)).toBe(true);
    const pairs = prompts.filter((_, i) => descriptions[i]?.pair !== undefined);
    expect(new Set(pairs).size).toBe(100);
    expect(new Set(prompts).size).toBe(100 + heldOutSingles().length);
    expect(evaluationPrompts()).toEqual(prompts);
  });
});

describe("free phrasings", () => {
  it("keeps train and held-out templates apart and is not canonical where templates differ", () => {
    const random = createRandom(5);
    const description = requireDescription("a red circle above a blue square");
    const texts = (split: "train" | "held-out"): Set<string> =>
      new Set(Array.from({ length: 2000 }, () => phrase(random, description, split)));
    const train = texts("train");
    const held = texts("held-out");
    expect(train.size).toBeGreaterThan(100);
    expect([...held].filter((text) => train.has(text))).toEqual([]);
    expect([...held].every((text) => parseDescription(text) === undefined)).toBe(true);
  });

  it("says everything the description states", () => {
    const random = createRandom(6);
    const description = requireDescription("a small green triangle left of a large cyan circle on a black background");
    for (let i = 0; i < 200; i++) {
      const text = phrase(random, description, i % 2 === 0 ? "train" : "held-out");
      expect(text).toMatch(/small|little|tiny/);
      expect(text).toMatch(/large|big|huge/);
      expect(text).toMatch(/green/);
      expect(text).toMatch(/cyan|turquoise/);
      expect(text).toMatch(/black/);
      expect(text).not.toMatch(/\b[ABGPRS]\b/);
    }
  });
});
