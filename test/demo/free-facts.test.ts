import { expect, test } from "vitest";
import { freeFactEntropy, freeFacts } from "#laurel/demo/free-facts";
import { requireDescription } from "#laurel/demo/grammar";
import { createRandom } from "#laurel/demo/random";
import { type Picture, renderScene } from "#laurel/demo/render";
import type { PlacedShape, Scene } from "#laurel/demo/scene";

const shape = (change: Partial<PlacedShape> = {}): PlacedShape => ({
  shape: "circle", colour: "red", size: "small", x: 0, y: 0, ...change,
}); // prettier-ignore
const drawn = (background: Scene["background"], ...shapes: [PlacedShape] | [PlacedShape, PlacedShape]): Picture =>
  renderScene({ background, shapes }, createRandom(5));
/** Entropy of two values seen equally often in four pictures, with its correction. */
const COIN = 1 + 1 / (8 * Math.LN2);

test("what a prompt does not state is free: size, background, and the place on the coarse grid", () => {
  const picture = drawn("grey", shape({ x: 48, y: 24 }));
  expect(Object.fromEntries(freeFacts(requireDescription("a red circle"), picture))).toEqual({
    background: "grey", "first size": "small", "first column": 3, "first row": 2,
  }); // prettier-ignore
  expect([...freeFacts(requireDescription("a small red circle on a grey background"), picture).keys()]).toEqual([
    "first column", "first row",
  ]); // prettier-ignore
});

test("the second shape is found by what the prompt says of it", () => {
  const green = shape({ shape: "square", colour: "green", size: "large", x: 40, y: 0 });
  const picture = drawn("white", green, shape({ x: 0, y: 40 }));
  const facts = freeFacts(requireDescription("a red circle left of a green square"), picture);
  expect(Object.fromEntries(facts)).toMatchObject({
    "first size": "small", "first column": 0, "first row": 3, "second size": "large", "second column": 3, "second row": 0,
  }); // prettier-ignore
});

test("the entropy is the sum over the free facts, corrected for the few pictures", () => {
  const description = requireDescription("a red circle");
  const same = Array.from({ length: 4 }, () => drawn("grey", shape()));
  expect(freeFactEntropy(description, same)).toBe(0);
  const coins = [0, 1, 2, 3].map((i) =>
    drawn(i < 2 ? "white" : "black", shape({ size: i % 2 === 0 ? "small" : "large", x: i < 2 ? 0 : 40 })),
  );
  // background, size and column each take two values equally often; the row is the same in all
  expect(freeFactEntropy(description, coins)).toBeCloseTo(3 * COIN, 12);
  const stated = requireDescription("a red circle on a white background");
  expect(freeFactEntropy(stated, coins)).toBeCloseTo(2 * COIN, 12);
});

test("pictures that show nothing have no entropy", () => {
  const nothing = { width: 64, height: 64, data: new Uint8Array(64 * 64 * 3).fill(250) };
  expect(freeFactEntropy(requireDescription("a red circle on a white background"), [nothing, nothing])).toBe(0);
});
