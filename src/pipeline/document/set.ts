/** @file `--set key=value`: changes to a document before its variables are filled in. */

import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { formatPlace, type Located, type LocatedEntry, type LocatedMap, type Place } from "../../util/yaml/located.js";
import { parseLocated } from "../../util/yaml/parse.js";

/**
 * Sets variables and places of a document.
 * @param set YAML text by the name of a declared variable, or by a place: `settings.steps`, `steps.0.generate.count`
 * @param keys the document's own keys, which may be added
 * @throws UsageError for a name that is neither; DocumentError for a value that is no YAML
 */
export function applySet(
  document: LocatedMap,
  set: Readonly<Record<string, string>>,
  keys: readonly string[],
): LocatedMap {
  let changed = document;
  for (const [name, text] of Object.entries(set)) {
    const declared = changed.entries.get("variables")?.value;
    const variables = declared?.kind === "map" ? [...declared.entries.keys()] : [];
    const path = variables.includes(name) ? ["variables", name] : name.split(".");
    if (!keys.includes(path[0]!)) {
      const near = closest(name, [...variables, ...keys]);
      throw new UsageError(
        `--set ${name}: expected a declared variable or a key of the document, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
      );
    }
    if (path.includes("__proto__")) throw new UsageError(`--set ${name}: expected another key than __proto__`);
    changed = setAt(changed, path, valueOf(name, text), name) as LocatedMap;
  }
  return changed;
}

/** The value of YAML text; the place of all of it is the option. */
function valueOf(name: string, text: string): Located {
  const place = { file: `--set ${name}`, line: 0, column: 0 };
  if (text.trim() === "") return { kind: "scalar", place, value: text };
  return placedAt(parseLocated(text, place.file), place);
}

function placedAt(located: Located, place: Place): Located {
  if (located.kind === "scalar") return { ...located, place };
  if (located.kind === "list") return { ...located, place, items: located.items.map((item) => placedAt(item, place)) };
  const entries = [...located.entries].map(([key, { value }]): [string, LocatedEntry] => [
    key,
    { key: place, value: placedAt(value, place) },
  ]);
  return { ...located, place, entries: new Map(entries) };
}

function setAt(located: Located | undefined, path: readonly string[], value: Located, name: string): Located {
  const [first, ...rest] = path;
  if (first === undefined) return value;
  if (located === undefined || (located.kind === "scalar" && located.value === null)) {
    const entry = { key: value.place, value: setAt(undefined, rest, value, name) };
    return { kind: "map", place: value.place, entries: new Map([[first, entry]]) };
  }
  if (located.kind === "map") {
    const existing = located.entries.get(first);
    const entry = { key: existing?.key ?? value.place, value: setAt(existing?.value, rest, value, name) };
    return { ...located, entries: new Map([...located.entries, [first, entry]]) };
  }
  const place = formatPlace(located.place);
  if (located.kind === "list") {
    const index = /^\d+$/.test(first) ? Number(first) : NaN;
    if (!(index < located.items.length)) {
      throw new UsageError(
        `--set ${name}: expected a number below ${located.items.length} for the list at ${place}, got ${first}`,
      );
    }
    return { ...located, items: located.items.with(index, setAt(located.items[index], rest, value, name)) };
  }
  throw new UsageError(`--set ${name}: expected a mapping or a list at ${place}, got one value`);
}
