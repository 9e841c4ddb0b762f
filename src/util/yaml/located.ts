/** @file YAML with the place of everything in it, so that a fault found later can still say where it stands. */

import { open } from "node:fs/promises";
import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseAllDocuments,
  type Node as YamlNode,
  type Scalar,
} from "yaml";
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
}

/** One fault of a document. */
export interface Fault {
  readonly place: Place;
  readonly message: string;
}

/** A document with faults: all that were found, in the order of their places. The message is the first, with the number of the others. */
export class DocumentError extends UsageError {
  /** Each `file:line:column: what is wrong`. */
  readonly faults: readonly string[];

  constructor(faults: readonly Fault[], options?: ErrorOptions) {
    const lines = [...faults]
      .sort((a, b) => a.place.line - b.place.line || a.place.column - b.place.column)
      .map(({ place, message }) => `${formatPlace(place)}: ${message}`);
    const unique = [...new Set(lines)];
    const first = unique[0] ?? "expected a sound document, got faults";
    super(unique.length > 1 ? `${first} (and ${unique.length - 1} more)` : first, options);
    this.faults = unique;
  }
}

/** `file:line:column`, or the file alone where there is no line. */
export function formatPlace({ file, line, column }: Place): string {
  return line === 0 ? file : `${file}:${line}:${column}`;
}

/** Largest document; lists of prompts are files of their own. */
const MAXIMUM_BYTES = 4 << 20;
/** Values a document may hold once its aliases are spelled out. */
const MAXIMUM_VALUES = 200_000;
const MAXIMUM_DEPTH = 64;

/** Reads a YAML file. @throws UsageError when it cannot be read, DocumentError when it is no YAML of this kind */
export async function readLocated(path: string): Promise<Located> {
  let text: string;
  try {
    const file = await open(path);
    try {
      const { size } = await file.stat();
      if (size > MAXIMUM_BYTES)
        throw new UsageError(`${path}: expected at most ${MAXIMUM_BYTES >> 20} MiB of YAML, got ${size} bytes`);
      text = await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof UsageError) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    const actual = code === "ENOENT" ? "no such file" : code === "EISDIR" ? "a folder" : (code ?? String(cause));
    throw new UsageError(`${path}: expected a YAML file, got ${actual}`, { cause });
  }
  return parseLocated(text, path);
}

/**
 * Parses one YAML document. Aliases are spelled out, up to a bound that no honest document reaches.
 * @throws DocumentError
 */
export function parseLocated(text: string, file: string): Located {
  const counter = new LineCounter();
  const place = (offset: number): Place => {
    const { line, col } = counter.linePos(offset);
    return { file, line, column: col };
  };
  const documents = parseAllDocuments(text, {
    lineCounter: counter,
    strict: true,
    uniqueKeys: true,
    version: "1.2",
    logLevel: "silent",
  });
  if ("empty" in documents)
    throw new DocumentError([{ place: place(0), message: "expected a YAML document, got an empty file" }]);
  const [document, second] = documents;
  const faults = documents
    .flatMap((one) => [...one.errors, ...one.warnings])
    .map((error) => ({
      place: place(error.pos[0]),
      // the library adds a picture of the line below the message
      message: error.message.split("\n")[0]!.replace(/ at line \d+, column \d+:?$/, ""),
    }));
  if (second !== undefined)
    faults.push({ place: place(second.range[0]), message: "expected one document, got a second" });
  if (faults.length > 0 || document === undefined) throw new DocumentError(faults);

  let values = 0;
  const fail = (node: YamlNode | null, message: string): never => {
    throw new DocumentError([{ place: place(node?.range?.[0] ?? 0), message }]);
  };
  const convert = (node: YamlNode | null, depth: number): Located => {
    if (++values > MAXIMUM_VALUES)
      fail(node, `expected at most ${MAXIMUM_VALUES} values, aliases spelled out, got more`);
    if (depth > MAXIMUM_DEPTH) fail(node, `expected at most ${MAXIMUM_DEPTH} levels, got more`);
    const at = place(node?.range?.[0] ?? 0);
    if (node === null) return { kind: "scalar", place: at, value: null };
    if (isAlias(node))
      return convert(
        (node as Alias).resolve(document) ?? fail(node, `unknown alias *${(node as Alias).source}`),
        depth + 1,
      );
    if (isSeq(node))
      return { kind: "list", place: at, items: node.items.map((item) => convert(item as YamlNode | null, depth + 1)) };
    if (isMap(node)) {
      const entries = new Map<string, LocatedEntry>();
      for (const pair of node.items) {
        const key = pair.key as YamlNode;
        if (!isScalar(key) || typeof key.value === "object") fail(key, "expected a key that is one word or text");
        entries.set(String((key as Scalar).value), {
          key: place(key.range?.[0] ?? 0),
          value: convert(pair.value as YamlNode | null, depth + 1),
        });
      }
      return { kind: "map", place: at, entries };
    }
    const value: unknown = (node as Scalar).value;
    if (value === null || typeof value === "string" || typeof value === "boolean")
      return { kind: "scalar", place: at, value };
    if (typeof value === "number" && Number.isFinite(value)) return { kind: "scalar", place: at, value };
    return fail(node, `expected text, a finite number, true, false or null, got ${String(value)}`);
  };
  return convert(document.contents, 0);
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

/** What a value is, for messages: short, on one line. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object" && value !== null) return "a mapping";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
