/** @file What a demo prompt leaves free, as the oracle reads it from pictures, and how evenly pictures spread over it. */

import { entropyBits } from "../util/statistics.js";
import type { Description } from "./grammar.js";
import { matchShapes, type ReadablePicture, readScene, type ReadShape } from "./oracle.js";
import { PICTURE_SIZE } from "./scene.js";

/** Places are told apart on a grid of this many columns and rows. */
const COARSE = 4;

/** A free fact by name (`first size`, `background`, `second column`, ...), with its value; undefined where it cannot be read. */
export type FreeFacts = ReadonlyMap<string, string | number | undefined>;

/** Sizes and background where the prompt does not state them, and the column and row (0 to 3) of every shape that it names. */
export function freeFacts(description: Description, picture: ReadablePicture): FreeFacts {
  const reading = readScene(picture);
  const { shapes } = matchShapes(description, reading);
  const facts = new Map<string, string | number | undefined>();
  if (description.background === undefined) facts.set("background", reading.background);
  const named = [description.first, ...(description.pair === undefined ? [] : [description.pair.second])];
  for (const [i, { size }] of named.entries()) {
    const which = i === 0 ? "first" : "second";
    const read = shapes[i];
    if (size === undefined) facts.set(`${which} size`, read?.size);
    const [column, row] = placeOf(read);
    facts.set(`${which} column`, column);
    facts.set(`${which} row`, row);
  }
  return facts;
}

function placeOf(shape: ReadShape | undefined): [number | undefined, number | undefined] {
  if (shape === undefined) return [undefined, undefined];
  const { left, right, top, bottom } = shape.box;
  return [(left + right) / 2, (top + bottom) / 2].map((centre) => Math.floor((centre * COARSE) / PICTURE_SIZE)) as [
    number,
    number,
  ];
}

/**
 * The entropy in bits of what the prompt leaves free, over pictures of it: the sum over the free facts, each with Miller and Madow's
 * correction; dependence between facts is not subtracted. Pictures in which a fact cannot be read are left out of that fact; one that none
 * shows counts as 0. Compare only between equal numbers of pictures: a remainder of the bias depends on it.
 */
export function freeFactEntropy(description: Description, pictures: readonly ReadablePicture[]): number {
  const counts = new Map<string, Map<string | number, number>>();
  for (const picture of pictures) {
    for (const [name, value] of freeFacts(description, picture)) {
      if (value === undefined) continue;
      const own = counts.get(name) ?? new Map<string | number, number>();
      counts.set(name, own.set(value, (own.get(value) ?? 0) + 1));
    }
  }
  return [...counts.values()].reduce((sum, own) => sum + entropyBits([...own.values()]), 0);
}
