/** @file Suggestions are near names, or none. */

import { closest, editDistance } from "#laurel/util/closest";
import { describe, expect, it } from "vitest";

describe("closest", () => {
  it("finds the name with the fewest changed letters", () => {
    expect(closest("guidanc", ["guidance", "steps", "sampler"])).toBe("guidance");
    expect(closest("attn1.to_q.weight", ["norm1.weight", "attn1.query.weight"])).toBe("attn1.query.weight");
  });

  it("stays silent when nothing is near", () => {
    expect(closest("seed", ["guidance", "sampler"])).toBeUndefined();
    expect(closest("seed", [])).toBeUndefined();
  });
});

describe("editDistance", () => {
  it.each([
    ["kitten", "sitting", 3],
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["abc", "acb", 2],
  ])("from %j to %j is %d", (a, b, distance) => expect(editDistance(a, b)).toBe(distance));

  it("stops at the limit", () => expect(editDistance("aaaaaa", "bbbbbb", 2)).toBe(2));
});
