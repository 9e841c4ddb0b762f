import { expect, test } from "vitest";
import {
  dimAdd,
  dimDivide,
  dimEquals,
  dimMultiply,
  dimWindow,
  formatShape,
  parseDim,
  shapeElements,
} from "#laurel/graph/dims";

test("symbolic dimensions multiply, divide and add while they stay multiples of one symbol", () => {
  expect(dimMultiply("N", 8)).toBe("8*N");
  expect(dimMultiply("8*N", 2)).toBe("16*N");
  expect(dimMultiply("N", "M")).toBeUndefined();
  expect(dimMultiply("N", 0)).toBe(0);
  expect(dimDivide("8*N", 4)).toBe("2*N");
  expect(dimDivide("8*N", "2*N")).toBe(4);
  expect(dimDivide("8*N", 3)).toBeUndefined();
  expect(dimDivide("8*N", "M")).toBeUndefined();
  expect(dimDivide(6, 4)).toBeUndefined();
  expect(dimAdd("N", "2*N")).toBe("3*N");
  expect(dimAdd("N", 1)).toBeUndefined();
  expect(dimAdd("N", 0)).toBe("N");
  expect(dimEquals("1*N", "N")).toBe(true);
  expect(dimEquals("N", 1)).toBe(false);
});

test("a window over a symbolic size has outputs when the padding keeps it whole", () => {
  expect(dimWindow(8, 2, 3, 1)).toBe(8);
  expect(dimWindow(7, 2, 3, 2)).toBe(4);
  expect(dimWindow("8*h", 2, 3, 1)).toBe("8*h");
  expect(dimWindow("8*h", 2, 3, 2)).toBe("4*h");
  expect(dimWindow("8*h", 1, 3, 2)).toBe("4*h");
  expect(dimWindow("8*h", 0, 3, 1)).toBeUndefined();
  expect(dimWindow("h", 2, 3, 2)).toBeUndefined();
  expect(dimWindow(1, 0, 5, 1)).toBeUndefined();
});

test("elements and messages spell symbols", () => {
  expect(shapeElements(["N", 4, 8])).toBe("32*N");
  expect(shapeElements(["N", "M"])).toBeUndefined();
  expect(formatShape(["N", 4])).toBe("[N,4]");
});

test.each(["", "2N", "N*2", "-N", "N M", 1.5, -1])("a malformed dimension is refused: %s", (dim) => {
  expect(() => parseDim(dim)).toThrow(/^dimension: expected/);
});
