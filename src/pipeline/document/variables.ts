/** @file `${name}` in a pipeline: replaced in the tree of located values, so that faults keep their places. */

import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import {
  DocumentError,
  type Fault,
  formatPlace,
  type Located,
  type LocatedMap,
  type Place,
  plainValue,
} from "../../util/yaml/located.js";
import { parseLocated } from "../../util/yaml/parse.js";

/** Names that mean something only once an item is at hand; they stay as they are. */
const LATER = /^(prompt$|id$|item\.|matrix\.)/;
const REFERENCE = /\$(\$?)\{([^{}]*)\}/g;

/**
 * Replaces `${name}` by the variables of the document, in every text but those of `variables` themselves. A text that is nothing but `${name}` becomes
 * the variable's value, of whatever kind; `$${` stands for `${`.
 * @param set values from `--set`, as YAML text: of a declared variable, or of a place in the document (`settings.steps`)
 * @throws DocumentError for an unknown variable or one that needs itself; UsageError for a `set` that names neither
 */
export function substitute(document: LocatedMap, set: Readonly<Record<string, string>>): LocatedMap {
  const { variables, changed } = applySet(document, set);
  const faults: Fault[] = [];
  const values = new Map<string, Located>();
  const underway: string[] = [];

  const lookup = (name: string, place: Place): Located | undefined => {
    const known = values.get(name);
    if (known !== undefined) return known;
    const raw = variables.get(name);
    if (raw === undefined) {
      const near = closest(name, variables.keys());
      const hint =
        near === undefined ? `; declared are ${[...variables.keys()].join(", ") || "none"}` : `; did you mean ${near}?`;
      faults.push({ place, message: `unknown variable ${name}${hint}` });
      return undefined;
    }
    if (underway.includes(name)) {
      throw new DocumentError([
        { place, message: `variable ${name} needs itself: ${[...underway, name].join(" -> ")}` },
      ]);
    }
    underway.push(name);
    const value = replace(raw);
    underway.pop();
    values.set(name, value);
    return value;
  };

  const replace = (located: Located): Located => {
    if (located.kind === "list") return { ...located, items: located.items.map(replace) };
    if (located.kind === "map") {
      return {
        ...located,
        entries: new Map([...located.entries].map(([key, entry]) => [key, { ...entry, value: replace(entry.value) }])),
      };
    }
    const { value, place } = located;
    if (typeof value !== "string" || !value.includes("${")) return located;
    const whole = /^\$\{([^{}]*)\}$/.exec(value)?.[1]?.trim();
    if (whole !== undefined && !LATER.test(whole)) {
      const found = lookup(whole, place);
      return found === undefined ? located : withPlace(found, place);
    }
    const text = value.replace(REFERENCE, (all, escaped: string, inner: string) => {
      const name = inner.trim();
      if (escaped !== "" || LATER.test(name)) return all;
      const found = lookup(name, place);
      if (found === undefined) return all;
      if (found.kind === "scalar") return String(found.value);
      faults.push({
        place,
        message: `variable ${name}: expected text or a number inside a text, got a ${found.kind === "map" ? "mapping" : "list"}`,
      });
      return all;
    });
    return { ...located, value: text };
  };

  const entries = [...changed.entries].map(
    ([key, entry]) => [key, key === "variables" ? entry : { ...entry, value: replace(entry.value) }] as const,
  );
  // a variable that nothing uses may still be wrong
  for (const name of variables.keys()) lookup(name, changed.place);
  if (faults.length > 0) throw new DocumentError(faults);
  return { ...changed, entries: new Map(entries) };
}

/** Fills in what an item brings. `values` holds `prompt`, `item.<column>` and `matrix.<name>`. @throws UsageError for a name it lacks */
export function fillTemplate(template: string, values: ReadonlyMap<string, string>, where: string): string {
  return template.replace(REFERENCE, (all, escaped: string, inner: string) => {
    if (escaped !== "") return all.slice(1);
    const name = inner.trim();
    const value = values.get(name);
    if (value !== undefined) return value;
    const near = closest(name, values.keys());
    throw new UsageError(
      `${where}: expected one of ${[...values.keys()].join(", ")}, got \${${name}}${near === undefined ? "" : `; did you mean ${near}?`}`,
    );
  });
}

/** What came from a variable stands, for messages, where it is used; what is inside keeps its own place. */
function withPlace(located: Located, place: Place): Located {
  return located.kind === "scalar" ? { ...located, place } : located;
}

function applySet(
  document: LocatedMap,
  set: Readonly<Record<string, string>>,
): { readonly variables: ReadonlyMap<string, Located>; readonly changed: LocatedMap } {
  const declared = document.entries.get("variables")?.value;
  const variables = new Map<string, Located>();
  if (declared?.kind === "map") for (const [name, { value }] of declared.entries) variables.set(name, value);
  let changed = document;
  for (const [name, text] of Object.entries(set)) {
    const place = { file: `--set ${name}`, line: 0, column: 0 };
    const value =
      text.trim() === ""
        ? ({ kind: "scalar", place, value: text } as const)
        : withoutLines(parseLocated(text, place.file), place);
    if (variables.has(name)) variables.set(name, value);
    else changed = setAt(changed, name.split("."), value, name, variables);
  }
  return { variables, changed };
}

/** A value from the command line has no lines worth naming. */
function withoutLines(located: Located, place: Place): Located {
  if (located.kind === "scalar") return { ...located, place };
  if (located.kind === "list")
    return { ...located, place, items: located.items.map((item) => withoutLines(item, place)) };
  const entries = [...located.entries].map(
    ([key, { value }]) => [key, { key: place, value: withoutLines(value, place) }] as const,
  );
  return { ...located, place, entries: new Map(entries) };
}

function setAt(
  map: LocatedMap,
  path: readonly string[],
  value: Located,
  name: string,
  variables: ReadonlyMap<string, Located>,
): LocatedMap {
  const [first = "", ...rest] = path;
  const existing = map.entries.get(first)?.value;
  if (rest.length > 0 && existing !== undefined && existing.kind !== "map") {
    throw new UsageError(
      `--set ${name}: expected a mapping at ${formatPlace(existing.place)}, got ${JSON.stringify(plainValue(existing))}`,
    );
  }
  if (rest.length === 0 && existing === undefined && path.length === name.split(".").length && !TOP_LEVEL.has(first)) {
    const near = closest(name, [...variables.keys(), ...TOP_LEVEL]);
    throw new UsageError(
      `--set ${name}: expected a declared variable or a key of the document, got ${name}${near === undefined ? "" : `; did you mean ${near}?`}`,
    );
  }
  const below: LocatedMap =
    existing?.kind === "map" ? existing : { kind: "map", place: value.place, entries: new Map() };
  const next = rest.length === 0 ? value : setAt(below, rest, value, name, variables);
  const key = map.entries.get(first)?.key ?? value.place;
  return { ...map, entries: new Map([...map.entries, [first, { key, value: next }]]) };
}

/** Keys that `--set` may add though the document lacks them. */
const TOP_LEVEL: ReadonlySet<string> = new Set(["seed", "seeds", "out", "backend", "template", "name", "prompts"]);
