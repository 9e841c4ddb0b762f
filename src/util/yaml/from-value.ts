/** @file Plain values as a located document, for documents that the program writes itself. */

import type { Located, LocatedEntry, Place } from "./located.js";

/** `value` (as JSON has it; undefined is left out of mappings) with `place` as the place of all of it. */
export function fromValue(value: unknown, place: Place): Located {
  if (Array.isArray(value)) return { kind: "list", place, items: value.map((item) => fromValue(item, place)) };
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).flatMap(([key, one]): [string, LocatedEntry][] =>
      one === undefined ? [] : [[key, { key: place, value: fromValue(one, place) }]],
    );
    return { kind: "map", place, entries: new Map(entries) };
  }
  return { kind: "scalar", place, value: value as string | number | boolean | null };
}
