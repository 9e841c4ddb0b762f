/** @file Canonical prompts: what is printed is read back, and only canonical text is read. */

import { describe, expect, it } from "vitest";
import { parseDescription, printDescription, requireDescription } from "#laurel/demo/grammar";
import { createRandom } from "#laurel/demo/random";
import { describe as describeScene, sampleScene } from "#laurel/demo/scene";

describe("canonical prompts", () => {
  it.each([
    ["a red circle above a blue square"],
    ["a small orange triangle left of an orange square on a grey background"],
    ["an orange circle"],
    ["a large pink square on a white background"],
  ])("prints %j as it was read", (text) => {
    expect(printDescription(requireDescription(text))).toBe(text);
  });

  it("reads back every description it prints", () => {
    const random = createRandom(1);
    for (let i = 0; i < 500; i++) {
      const description = describeScene(random, sampleScene(random));
      expect(parseDescription(printDescription(description))).toEqual(description);
    }
  });

  it("reads both articles, any case and spacing", () => {
    expect(parseDescription("  A orange  CIRCLE below a red square ")).toEqual({
      first: { colour: "orange", shape: "circle" },
      pair: { relation: "below", second: { colour: "red", shape: "square" } },
    });
  });

  it.each([
    ["a circle"],
    ["red circle"],
    ["a red circle beside a blue square"],
    ["a red circle on a pink background"],
    [""],
  ])("does not read %j", (text) => {
    expect(parseDescription(text)).toBeUndefined();
    expect(() => requireDescription(text)).toThrow(/demo prompt: expected .* got/);
  });
});
