/** @file Checks a located document against a zod schema: every fault with its place, unknown keys with the closest known one. */

import type { z } from "zod";
import { closest } from "../closest.js";
import { describeValue, DocumentError, type Fault, type Located, placeAt, plainValue } from "./located.js";

type Issue = z.core.$ZodIssue;
type Schema = z.core.$ZodType;

/** The value as the schema gives it. @throws DocumentError with all faults */
export function validateLocated<T>(schema: z.ZodType<T>, located: Located): T {
  const value = plainValue(located);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const faults = result.error.issues.flatMap((issue) => explain(issue, [], schema, value, located));
  throw new DocumentError(faults);
}

function explain(
  issue: Issue,
  above: readonly PropertyKey[],
  schema: Schema,
  value: unknown,
  located: Located,
): Fault[] {
  const path = [...above, ...issue.path];
  const actual = valueAt(value, path);
  const at = path.length === 0 ? "" : `${path.map(String).join(".")}: `;
  const fault = (message: string, key = false): Fault => ({
    place: placeAt(located, path, key),
    message: `${at}${message}`,
  });
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(schema, path);
    return issue.keys.map((name) => {
      const near = closest(name, known);
      const hint = near === undefined ? `; known are ${[...known].join(", ")}` : `; did you mean ${near}?`;
      return {
        place: placeAt(located, [...path, name], true),
        message: `${at}unknown key ${name}${known.size === 0 ? "" : hint}`,
      };
    });
  }
  if (issue.code === "invalid_union") {
    const branch = likeliest(issue.errors);
    if (branch === undefined) return [fault(`${expectation(issue.errors.flat())}, got ${describeValue(actual)}`)];
    return branch.flatMap((inner) => explain(inner, path, schema, value, located));
  }
  return [fault(`${expectation([issue])}, got ${got(issue, actual)}`)];
}

function got(issue: Issue, actual: unknown): string {
  const counted =
    (issue.code === "too_small" || issue.code === "too_big") && (issue.origin === "string" || issue.origin === "array");
  if (counted) return String((actual as { length: number }).length);
  const near =
    issue.code === "invalid_value" && typeof actual === "string"
      ? closest(actual, issue.values.map(String))
      : undefined;
  return `${describeValue(actual)}${near === undefined ? "" : `; did you mean ${near}?`}`;
}

/** Of the branches of a union, the one that got furthest into the value; undefined when none accepts even its kind. */
function likeliest(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const entered = branches.filter(
    (issues) =>
      !issues.some((issue) => issue.path.length === 0 && issue.code !== "unrecognized_keys" && issue.code !== "custom"),
  );
  return [...entered].sort((a, b) => a.length - b.length)[0];
}

/** What would have been right, over all of `issues`. */
function expectation(issues: readonly Issue[]): string {
  return `expected ${[...new Set(issues.map(expected))].join(" or ")}`;
}

function expected(issue: Issue): string {
  if (issue.code === "invalid_type") return article(issue.expected);
  if (issue.code === "invalid_value") {
    const values = issue.values.map(String);
    return values.length === 1 ? values[0]! : `one of ${values.join(", ")}`;
  }
  if (issue.code === "too_small" || issue.code === "too_big") {
    const least = issue.code === "too_small";
    const bound = String(least ? issue.minimum : issue.maximum);
    const relation = issue.inclusive === true ? (least ? "at least" : "at most") : least ? "more than" : "less than";
    const unit = issue.origin === "string" ? " characters" : issue.origin === "array" ? " entries" : "";
    return `${relation} ${bound}${unit}`;
  }
  return issue.message.replace(/^expected /, "");
}

function article(kind: string): string {
  const names: Readonly<Record<string, string>> = {
    int: "a whole number",
    number: "a number",
    string: "text",
    boolean: "true or false",
    array: "a list",
    object: "a mapping",
    record: "a mapping",
    null: "null",
  };
  return names[kind] ?? kind;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<PropertyKey, unknown>)[step];
  }
  return current;
}

/** The keys that objects at `path` may have. */
function knownKeys(schema: Schema, path: readonly PropertyKey[]): Set<string> {
  let level: Schema[] = [schema];
  for (const step of path) {
    level = level.flatMap(alternatives).flatMap((one) => {
      const { def } = (one as z.core.$ZodTypes)._zod;
      if (def.type === "object") {
        const child = (def as z.core.$ZodObjectDef).shape[String(step)];
        return child === undefined ? [] : [child];
      }
      if (def.type === "array") return [def.element];
      if (def.type === "record") return [def.valueType];
      return [];
    });
  }
  const keys = new Set<string>();
  for (const one of level.flatMap(alternatives)) {
    const { def } = (one as z.core.$ZodTypes)._zod;
    if (def.type === "object") for (const key of Object.keys((def as z.core.$ZodObjectDef).shape)) keys.add(key);
  }
  return keys;
}

/** What a wrapped schema or a union comes down to. */
function alternatives(schema: Schema): Schema[] {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  if ("innerType" in def) return alternatives(def.innerType);
  if (def.type === "pipe") return alternatives(def.in);
  if (def.type === "lazy") return alternatives(def.getter());
  if (def.type === "union") return def.options.flatMap(alternatives);
  return [schema];
}
