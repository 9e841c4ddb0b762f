/** @file `${name}` in a pipeline: replaced in the tree of located values, so that faults keep their places. */

import { UsageError } from "../../errors.js";
import { closest } from "../../util/closest.js";
import { DocumentError, type Fault, type Located, type LocatedMap, type Place } from "../../util/yaml/located.js";
import { MAXIMUM_VALUES } from "../../util/yaml/parse.js";
import { applySet } from "./set.js";

/** Names that mean something only once an item is at hand; they stay open in the texts that are filled in then. */
const LATER = /^(prompt$|id$|item\.|matrix\.)/;
/** `${name}`, its escaped form `$${`, or a `${` that nothing closes. */
const REFERENCE = /\$(\$?)\{(?:([^{}]*)\})?/g;
/** Variables that need each other in a row. */
const MAXIMUM_CHAIN = 32;
const MAXIMUM_DEPTH = 64;
/** Characters of all texts that variables stand in, together. */
const MAXIMUM_TEXT = 16 << 20;

/**
 * Replaces `${name}` by the variables of the document. A text that is nothing but `${name}` becomes the variable's value, of whatever kind; `$${`
 * stands for `${`. What only an item has (`${prompt}`, `${matrix.x}`) stays open in the template and where exports go, and is a fault elsewhere.
 * @param set values from `--set`, as YAML text: of a declared variable, or of a place in the document (`settings.steps`)
 * @param keys the document's own keys, which `set` may add
 * @throws DocumentError for an unknown variable or one that needs itself; UsageError for a `set` that names neither
 */
export function substitute(
  document: LocatedMap,
  set: Readonly<Record<string, string>>,
  keys: readonly string[],
): LocatedMap {
  const changed = applySet(document, set, keys);
  const declared = changed.entries.get("variables")?.value;
  const variables = new Variables(declared?.kind === "map" ? declared : undefined);
  const entries = [...changed.entries].map(([key, entry]) => {
    const value = variables.isDeclaration(entry.value) ? variables.all() : variables.fill(entry.value, [key]);
    return [key, { ...entry, value }] as const;
  });
  variables.expectSound();
  return { ...changed, entries: new Map(entries) };
}

/** Fills in what an item brings. `values` holds `prompt`, `item.<column>` and `matrix.<name>`. @throws UsageError for a name it lacks */
export function fillTemplate(template: string, values: ReadonlyMap<string, string>, where: string): string {
  return template.replace(REFERENCE, (all, escaped: string, inner: string | undefined) => {
    if (escaped !== "") return all.slice(1);
    const name = inner?.trim() ?? "";
    const value = values.get(name);
    if (value !== undefined) return value;
    const near = closest(name, values.keys());
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw new UsageError(`${where}: expected one of ${[...values.keys()].join(", ")}, got \${${name}}${hint}`);
  });
}

/** The variables of a document, worked out when they are needed. */
class Variables {
  readonly #declared: LocatedMap | undefined;
  readonly #values = new Map<string, Located | undefined>();
  readonly #underway: string[] = [];
  readonly #faults: Fault[] = [];
  #count = 0;
  #text = 0;

  constructor(declared: LocatedMap | undefined) {
    this.#declared = declared;
  }

  isDeclaration(located: Located): boolean {
    return located === this.#declared;
  }

  /** The declaration with every variable worked out; one that nothing uses may still be wrong. */
  all(): Located {
    const declared = this.#declared!;
    const entries = [...declared.entries].map(([name, entry]) => {
      if (LATER.test(name))
        this.#faults.push({ place: entry.key, message: `expected another name than ${name}, which is the item's` });
      return [name, { ...entry, value: this.#finish(this.#lookup(name, entry.key) ?? entry.value, true, 0) }] as const;
    });
    return { ...declared, entries: new Map(entries) };
  }

  /** The value at `path` of the document with its references replaced. */
  fill(located: Located, path: readonly string[]): Located {
    return this.#finish(this.#replace(located), false, 0, path);
  }

  /** @throws DocumentError with all faults */
  expectSound(): void {
    if (this.#faults.length > 0) throw new DocumentError(this.#faults);
  }

  #lookup(name: string, place: Place): Located | undefined {
    if (this.#values.has(name)) return this.#values.get(name);
    const raw = this.#declared?.entries.get(name)?.value;
    if (raw === undefined) {
      const known = [...(this.#declared?.entries.keys() ?? [])];
      const near = closest(name, [...known, "prompt", "id"]);
      const hint = near === undefined ? `; declared are ${known.join(", ") || "none"}` : `; did you mean ${near}?`;
      this.#faults.push({ place, message: `unknown variable ${name}${hint}` });
      return undefined;
    }
    if (this.#underway.includes(name)) {
      const circle = [...this.#underway.slice(this.#underway.indexOf(name)), name].join(" -> ");
      this.#faults.push({ place, message: `variable ${name} needs itself: ${circle}` });
      return undefined;
    }
    if (this.#underway.length >= MAXIMUM_CHAIN)
      this.#fail(place, `expected at most ${MAXIMUM_CHAIN} variables that need each other in a row, got more`);
    this.#underway.push(name);
    const value = this.#replace(raw);
    this.#underway.pop();
    this.#values.set(name, value);
    return value;
  }

  /** With variables in the place of their references. What an item has, and escapes, are left: a variable may be a template. */
  #replace(located: Located): Located {
    if (located.kind === "list") return { ...located, items: located.items.map((item) => this.#replace(item)) };
    if (located.kind === "map") {
      const entries = [...located.entries].map(
        ([key, entry]) => [key, { ...entry, value: this.#replace(entry.value) }] as const,
      );
      return { ...located, entries: new Map(entries) };
    }
    const { value, place } = located;
    if (typeof value !== "string" || !value.includes("${")) return located;
    const whole = /^\$\{([^{}]*)\}$/.exec(value)?.[1]?.trim();
    if (whole !== undefined && !LATER.test(whole)) {
      const found = this.#lookup(whole, place);
      // for messages it stands where it is used; what is inside a list keeps its own place
      return found?.kind === "scalar" ? { ...found, place, origin: found.origin ?? found.place } : (found ?? located);
    }
    let origin = located.origin;
    const text = value.replace(REFERENCE, (all, escaped: string, inner: string | undefined, at: number) => {
      const name = inner?.trim();
      if (escaped !== "" || name === undefined || LATER.test(name)) return all;
      const found = this.#lookup(name, place);
      if (found === undefined) return all;
      if (found.kind === "scalar" && found.value !== null) {
        if (at === 0) origin = found.origin ?? found.place;
        const inserted = String(found.value);
        this.#text += inserted.length;
        if (this.#text > MAXIMUM_TEXT)
          this.#fail(place, `expected at most ${MAXIMUM_TEXT} characters from variables, got more`);
        return inserted;
      }
      const kind = found.kind === "map" ? "a mapping" : found.kind === "list" ? "a list" : "null";
      this.#faults.push({ place, message: `variable ${name}: expected text or a number inside a text, got ${kind}` });
      return all;
    });
    return { ...located, value: text, ...(origin === undefined ? {} : { origin }) };
  }

  /** Checks what is still open in the texts, and counts: variables in variables can stand for more than memory holds. */
  #finish(located: Located, open: boolean, depth: number, path: readonly string[] = []): Located {
    if (++this.#count > MAXIMUM_VALUES)
      this.#fail(located.place, `expected at most ${MAXIMUM_VALUES} values, variables filled in, got more`);
    if (depth > MAXIMUM_DEPTH) this.#fail(located.place, `expected at most ${MAXIMUM_DEPTH} levels, got more`);
    if (located.kind === "list") {
      const items = located.items.map((item, i) => this.#finish(item, open, depth + 1, [...path, String(i)]));
      return { ...located, items };
    }
    if (located.kind === "map") {
      const entries = [...located.entries].map(
        ([key, entry]) =>
          [key, { ...entry, value: this.#finish(entry.value, open, depth + 1, [...path, key]) }] as const,
      );
      return { ...located, entries: new Map(entries) };
    }
    const { value, place } = located;
    if (typeof value !== "string" || !value.includes("${")) return located;
    const stays = open || isFilledLater(path);
    const text = value.replace(REFERENCE, (all, escaped: string, inner: string | undefined) => {
      if (escaped !== "") return stays ? all : all.slice(1);
      const name = inner?.trim();
      if (name === undefined)
        this.#faults.push({
          place,
          message: `expected \${name}, got a \${ that nothing closes; $\${ stands for the characters`,
        });
      else if (!stays && LATER.test(name))
        this.#faults.push({
          place,
          message: `\${${name}}: expected it in template or in export's to, where an item is at hand, got it in ${path.join(".")}`,
        });
      return all;
    });
    return { ...located, value: text };
  }

  #fail(place: Place, message: string): never {
    throw new DocumentError([...this.#faults, { place, message }]);
  }
}

/** Whether the text at `path` is filled in for each item. */
function isFilledLater([first, , step, key, ...rest]: readonly string[]): boolean {
  return (
    (first === "template" && step === undefined) ||
    (first === "steps" && step === "export" && key === "to" && rest.length === 0)
  );
}
