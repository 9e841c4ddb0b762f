/** @file Values with the place they were written at, so that a fault found later can still say where it stands. */

import { UsageError } from "../../errors.js";

/** Where something stands; line and column count from 1, and line 0 means that `file` is no file (`--set n`). */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A YAML value with its place. */
export type Located = LocatedMap | LocatedList | LocatedScalar;

/** A mapping; keys are text. */
export interface LocatedMap {
  readonly kind: "map";
  readonly place: Place;
  readonly entries: ReadonlyMap<string, LocatedEntry>;
}

/** A key with its value. */
export interface LocatedEntry {
  readonly key: Place;
  readonly value: Located;
}

/** A list. */
export interface LocatedList {
  readonly kind: "list";
  readonly place: Place;
  readonly items: readonly Located[];
}

/** Text, a number, true, false or null. */
export interface LocatedScalar {
  readonly kind: "scalar";
  readonly place: Place;
  readonly value: string | number | boolean | null;
  /** Where its text was written, if that is not where it stands: a path in it is relative to that file. */
  readonly origin?: Place;
}

/** One fault of a document. */
export interface Fault {
  readonly place: Place;
  readonly message: string;
}

/** Faults that are listed; a file of another kind has as many as it has words. */
const MAXIMUM_FAULTS = 50;

/** A document with faults: all that were found, in the order of their places. The message is the first, with the number of the others. */
export class DocumentError extends UsageError {
  /** Each `file:line:column: what is wrong`. */
  readonly faults: readonly string[];
  /** The faults as they were found, to be told together with others. */
  readonly causes: readonly Fault[];

  constructor(faults: readonly Fault[], options?: ErrorOptions) {
    const files = [...new Set(faults.map(({ place }) => place.file))];
    const order = ({ place }: Fault): number => files.indexOf(place.file);
    const lines = [...faults]
      .sort((a, b) => order(a) - order(b) || a.place.line - b.place.line || a.place.column - b.place.column)
      .map(({ place, message }) => `${formatPlace(place)}: ${message}`);
    const unique = [...new Set(lines)];
    const first = unique[0] ?? "expected a sound document, got faults";
    super(unique.length > 1 ? `${first} (and ${unique.length - 1} more)` : first, options);
    this.causes = faults;
    this.faults =
      unique.length > MAXIMUM_FAULTS
        ? [...unique.slice(0, MAXIMUM_FAULTS), `and ${unique.length - MAXIMUM_FAULTS} more faults`]
        : unique;
  }
}

/** `file:line:column`, or the file alone where there is no line. */
export function formatPlace({ file, line, column }: Place): string {
  return line === 0 ? file : `${file}:${line}:${column}`;
}

/** The plain value; mappings have no prototype, so that no key means more than itself. */
export function plainValue(located: Located): unknown {
  switch (located.kind) {
    case "scalar":
      return located.value;
    case "list":
      return located.items.map(plainValue);
    case "map": {
      const result = Object.create(null) as Record<string, unknown>;
      for (const [key, { value }] of located.entries) result[key] = plainValue(value);
      return result;
    }
    default:
      return located satisfies never;
  }
}

/** The place of what stands at `path`, or of the nearest that exists above it. */
export function placeAt(located: Located, path: readonly PropertyKey[], key = false): Place {
  let current = located;
  let place = located.place;
  for (const step of path) {
    if (current.kind === "map") {
      const entry = current.entries.get(String(step));
      if (entry === undefined) return place;
      place = key ? entry.key : entry.value.place;
      current = entry.value;
    } else if (current.kind === "list") {
      const item = current.items[Number(step)];
      if (item === undefined) return place;
      place = item.place;
      current = item;
    } else return place;
  }
  return place;
}

/** Where the text at `path` was written. */
export function originAt(located: Located, path: readonly PropertyKey[]): Place {
  let current: Located | undefined = located;
  for (const step of path) {
    if (current?.kind === "map") current = current.entries.get(String(step))?.value;
    else current = current?.kind === "list" ? current.items[Number(step)] : undefined;
  }
  return (current?.kind === "scalar" ? current.origin : undefined) ?? placeAt(located, path);
}

/** What a value is, for messages: short, on one line. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  // an address may hold a password
  const text = JSON.stringify(value).replace(/\/\/[^/\s]*@/g, "//[redacted]@");
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
