/** @file How pictures are cut into tiles and put together. */

import { describe, expect, test } from "vitest";
import { cutTile, isCut, planTiles, TileBlend } from "#laurel/diffusion/tiles";

describe("a plan", () => {
  test.each([
    [64, 256, [0, 16, 32], 32],
    [64, 384, [0, 16], 48],
    [96, 512, [0, 32], 64],
    [33, 256, [0, 1], 32],
    [128, 512, [0, 32, 64], 64],
  ])(
    "of %i cells in tiles of %i pixels has tiles of one size, from edge to edge, overlapping by a quarter at least",
    (cells, tile, begins, side) => {
      const plan = planTiles({ width: cells, height: 16 }, tile, 8);
      expect(plan).toEqual({ size: { width: side, height: 16 }, tops: [0], lefts: begins });
      expect(isCut(plan)).toBe(true);
      const overlaps = begins.slice(1).map((begin, i) => begins[i]! + side - begin);
      for (const overlap of overlaps) expect(overlap).toBeGreaterThanOrEqual(side / 4);
    },
  );

  test.each([undefined, 128, 200])("of a picture no larger than a tile (%s) does not cut", (tile) => {
    const plan = planTiles({ width: 16, height: 12 }, tile, 8);
    expect(plan).toEqual({ size: { width: 16, height: 12 }, tops: [0], lefts: [0] });
    expect(isCut(plan)).toBe(false);
  });

  test("of tiles too small is refused", () => {
    expect(() => planTiles({ width: 64, height: 64 }, 63, 8)).toThrow(
      "vae tile: expected at least 64 pixels for this model, got 63",
    );
  });
});

describe("tiles put together", () => {
  const size = { width: 21, height: 13 };
  const factor = 2;
  const plan = planTiles(size, 16, factor);
  /** Three channels of distinct numbers. */
  const latent = Float32Array.from({ length: 3 * 21 * 13 }, (_, i) => i);

  /** Each cell as a block of equal pixels: a decoder that looks at nothing else. */
  function enlarged(values: Float32Array, width: number): Float32Array {
    const rows = values.length / width;
    const out = new Float32Array(values.length * factor ** 2);
    for (let i = 0; i < out.length; i++) {
      const [row, column] = [Math.floor(i / (width * factor)), i % (width * factor)];
      out[i] = values[Math.floor(row / factor) * width + Math.floor(column / factor)]!;
    }
    expect(rows * width).toBe(values.length);
    return out;
  }

  function blended(change: (tile: Float32Array, row: number, column: number) => Float32Array): Float32Array {
    const blend = new TileBlend(plan, size, factor);
    plan.tops.forEach((top, row) =>
      plan.lefts.forEach((left, column) => {
        const tile = enlarged(cutTile(latent, size, plan, top, left), plan.size.width);
        blend.add(change(tile, row, column), row, column);
      }),
    );
    return blend.result;
  }

  test("give the whole where each is right", () => {
    expect(plan).toMatchObject({ size: { width: 8, height: 8 }, tops: [0, 5], lefts: [0, 4, 9, 13] });
    const whole = enlarged(latent, size.width);
    // weights are float32 and sum to 1 within a few of its steps
    blended((tile) => tile).forEach((value, i) => expect(Math.abs(value - whole[i]!)).toBeLessThan(1e-6 * 1000));
  });

  test("go from one to the other in a straight line", () => {
    const levels = blended((tile, row) => tile.fill(row)).filter((_, i) => i % (size.width * factor) === 0);
    // of 26 lines, the first 10 are the upper tile's, the last 10 the lower one's, 6 are shared
    const ramp = Array.from({ length: 6 }, (_, i) => (i + 0.5) / 6);
    const expected = [...new Array<number>(10).fill(0), ...ramp, ...new Array<number>(10).fill(1)];
    expected.forEach((level, i) => expect(levels[i]).toBeCloseTo(level, 6));
  });
});
