/** @file The oracle against the renderer's truth: clean, blurred and noisy pictures, near misses, and pictures it must not guess. */

import { describe, expect, it } from "vitest";
import { requireDescription } from "#laurel/demo/grammar";
import { judge, readScene } from "#laurel/demo/oracle";
import type { Random } from "#laurel/demo/random";
import { createRandom } from "#laurel/demo/random";
import type { Picture } from "#laurel/demo/render";
import { renderScene } from "#laurel/demo/render";
import type { PlacedShape, Scene } from "#laurel/demo/scene";
import { describe as describeScene, MUTATIONS, mutateScene, relationsOf, sampleScene } from "#laurel/demo/scene";

const clampByte = (value: number): number => Math.max(0, Math.min(255, Math.round(value)));

/** Gaussian blur of standard deviation `sigma` pixels, edges repeated. */
function blur(picture: Picture, sigma: number): Picture {
  const kernel = [-3, -2, -1, 0, 1, 2, 3].map((i) => Math.exp((-i * i) / (2 * sigma * sigma)));
  const total = kernel.reduce((sum, weight) => sum + weight, 0);
  const { width, height } = picture;
  let source = Float64Array.from(picture.data);
  for (const [dx, dy] of [
    [1, 0],
    [0, 1],
  ] as const) {
    // prettier-ignore
    const target = new Float64Array(source.length);
    for (let at = 0; at < target.length; at++) {
      const [c, x, y] = [at % 3, Math.floor(at / 3) % width, Math.floor(at / 3 / width)];
      for (let i = -3; i <= 3; i++) {
        const u = Math.max(0, Math.min(width - 1, x + dx * i));
        const v = Math.max(0, Math.min(height - 1, y + dy * i));
        target[at] = (target[at] ?? 0) + ((kernel[i + 3] ?? 0) / total) * (source[3 * (v * width + u) + c] ?? 0);
      }
    }
    source = target;
  }
  return { width, height, data: Uint8Array.from(source, clampByte) };
}

function addNoise(random: Random, picture: Picture, sigma: number): Picture {
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
  return { ...picture, data: Uint8Array.from(picture.data, (value) => clampByte(value + sigma * normal())) };
}

type Outcome = "right" | "unreadable" | "wrong";

function outcomeOf(scene: Scene, picture: Picture): Outcome {
  const reading = readScene(picture);
  const found = (shape: PlacedShape): boolean =>
    reading.shapes.some(
      (read) =>
        read.shape === shape.shape &&
        read.colour === shape.colour &&
        read.size === shape.size &&
        Math.abs(read.box.left - shape.x) <= 3,
    );
  const right =
    reading.background === scene.background &&
    reading.shapes.length === scene.shapes.length &&
    scene.shapes.every(found);
  return right ? "right" : reading.problems.length > 0 ? "unreadable" : "wrong";
}

const COUNT = 400;

describe("oracle", () => {
  it.each([
    ["clean", (_: Random, picture: Picture) => picture],
    ["blurred by 0.8 pixels", (_: Random, picture: Picture) => blur(picture, 0.8)],
    ["noisy by 12 levels", (random: Random, picture: Picture) => addNoise(random, picture, 12)],
    ["blurred and noisy", (random: Random, picture: Picture) => addNoise(random, blur(picture, 0.8), 8)],
  ] as const)("reads %s pictures: 99.5 in 100 right, none misread", (_, change) => {
    const random = createRandom(7);
    const counts: Record<Outcome, number> = { right: 0, unreadable: 0, wrong: 0 };
    for (let i = 0; i < COUNT; i++) {
      const scene = sampleScene(random);
      counts[outcomeOf(scene, change(random, renderScene(scene, random)))]++;
    }
    expect(counts.wrong).toBe(0);
    expect(counts.right / COUNT).toBeGreaterThanOrEqual(0.995);
  });

  it("agrees with every true description and with no relation that does not hold", () => {
    const random = createRandom(8);
    for (let i = 0; i < 200; i++) {
      const scene = sampleScene(random);
      const picture = renderScene(scene, random);
      const description = describeScene(random, scene);
      expect(judge(description, picture).verdict).toBe("holds");
      const { first, pair } = description;
      const twins =
        scene.shapes.length === 2 &&
        scene.shapes[0].colour === scene.shapes[1]?.colour &&
        scene.shapes[0].shape === scene.shapes[1].shape;
      if (pair === undefined || twins || relationsOf(scene).length > 1) continue;
      const turned = { ...description, first: pair.second, pair: { ...pair, second: first } };
      expect(judge(turned, picture).verdict).toBe("fails");
    }
  });

  it("sees every kind of near miss that changes a full description", () => {
    const random = createRandom(9);
    for (const mutation of MUTATIONS.filter((each) => each !== "move")) {
      for (let i = 0; i < 20; i++) {
        const scene = sampleScene(random, 2);
        const near = mutateScene(random, scene, mutation);
        const description = describeScene(random, scene, 1);
        const stillTrue = judge(description, renderScene(near, random)).verdict === "holds";
        const [a, b] = scene.shapes;
        const twins = b !== undefined && (a.colour === b.colour || a.shape === b.shape);
        if (!twins && mutation !== "turn") expect(stillTrue, mutation).toBe(false);
      }
    }
  });

  const red = requireDescription("a red circle");
  const flat = (fill: (x: number, y: number) => readonly [number, number, number]): Picture => ({
    width: 64,
    height: 64,
    data: Uint8Array.from(
      { length: 64 * 64 * 3 },
      (_, at) => fill(Math.floor(at / 3) % 64, Math.floor(at / 192))[at % 3] ?? 0,
    ),
  });

  it("fails an empty picture and three shapes", () => {
    expect(
      judge(
        red,
        flat(() => [0, 0, 0]),
      ).verdict,
    ).toBe("fails");
    const discs = [[12, 12], [44, 12], [12, 44]]; // prettier-ignore
    const picture = flat((x, y) =>
      discs.some(([u = 0, v = 0]) => (x - u) ** 2 + (y - v) ** 2 < 64) ? [250, 5, 5] : [0, 0, 0],
    );
    expect(readScene(picture).shapes).toHaveLength(3);
    expect(judge(red, picture).verdict).toBe("fails");
  });

  it("calls a bar, a shape of two colours and a hue between two names unreadable", () => {
    const disc = (x: number, y: number): boolean => (x - 31.5) ** 2 + (y - 31.5) ** 2 < 64;
    expect(
      judge(
        red,
        flat((x, y) => (x > 10 && x < 40 && y > 30 && y < 42 ? [250, 5, 5] : [0, 0, 0])),
      ).verdict,
    ).toBe("unreadable");
    expect(
      judge(
        red,
        flat((x, y) => (disc(x, y) ? (x < 32 ? [250, 5, 5] : [5, 250, 5]) : [0, 0, 0])),
      ).verdict,
    ).toBe("unreadable");
    expect(
      judge(
        red,
        flat((x, y) => (disc(x, y) ? [250, 66, 5] : [0, 0, 0])),
      ).verdict,
    ).toBe("unreadable");
  });

  it("calls a picture with a fragment beside the right shape unreadable", () => {
    const picture = flat((x, y) =>
      (x - 31.5) ** 2 + (y - 31.5) ** 2 < 64 || (x > 50 && x < 56 && y > 50 && y < 56) ? [250, 5, 5] : [0, 0, 0],
    );
    expect(judge(red, picture).verdict).toBe("unreadable");
  });
});
