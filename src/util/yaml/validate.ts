/** @file Checks a located document against a zod schema: every fault with its place, unknown keys with the closest known one. */

import { globalRegistry, type z } from "zod";
import { closest } from "../closest.js";
import { describeValue, DocumentError, type Fault, type Located, placeAt, plainValue } from "./located.js";

type Issue = z.core.$ZodIssue;
type Schema = z.core.$ZodType;

/**
 * The value as the schema gives it. What stands where a schema with the meta `writeOnly` wants the name of a secret is never repeated.
 * @throws DocumentError with all faults
 */
export function validateLocated<T>(schema: z.ZodType<T>, located: Located): T {
  const value = plainValue(located);
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  const strange = new Set(issues.flatMap(({ code, path }) => (code === "unrecognized_keys" ? [path.join("\n")] : [])));
  const faults = issues
    // what is said of a mapping as a whole follows from its unknown keys
    .filter(({ code, path }) => code !== "custom" || !strange.has(path.join("\n")))
    .flatMap((issue) => explain(issue, [], schema, value, located));
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
  const fault = (message: string): Fault => ({ place: placeAt(located, path), message: `${at}${message}` });
  const secret = path.findIndex((_, i) => schemasAt(schema, path.slice(0, i + 1)).some(isSecret));
  if (secret >= 0) {
    const message = `${path
      .slice(0, secret + 1)
      .map(String)
      .join(
        ".",
      )}: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)`;
    return [{ place: placeAt(located, path.slice(0, secret + 1)), message }];
  }
  if (issue.code === "invalid_key")
    return [{ place: placeAt(located, path, true), message: `${at}${expectation(issue.issues)}` }];
  if (issue.code === "unrecognized_keys") {
    const known = knownKeys(schema, path, value);
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
    // a discriminator of another value has no branches
    if (issue.errors.length === 0) return [unknownVariant(issue, path, schema, actual, located)];
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

/** A mapping whose discriminator (`backend`, ...) names no variant, or that lacks it. */
function unknownVariant(
  issue: Issue,
  path: readonly PropertyKey[],
  schema: Schema,
  value: unknown,
  located: Located,
): Fault {
  const discriminator = "discriminator" in issue ? String(issue.discriminator) : "";
  const whole = path.at(-1) === discriminator ? path : [...path, discriminator];
  const branches = schemasAt(schema, whole).flatMap(alternatives);
  const values = branches.flatMap((one) => {
    const { def } = (one as z.core.$ZodTypes)._zod;
    return def.type === "literal" ? def.values.map(String) : [];
  });
  const actual = path === whole ? value : valueAt(value, [discriminator]);
  const near = typeof actual === "string" ? closest(actual, values) : undefined;
  return {
    place: placeAt(located, whole),
    message: `${whole.map(String).join(".")}: expected one of ${[...new Set(values)].join(", ")}, got ${describeValue(actual)}${near === undefined ? "" : `; did you mean ${near}?`}`,
  };
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
    const names = issue.origin === "string" ? ["character", "characters"] : ["entry", "entries"];
    const counted = issue.origin === "string" || issue.origin === "array";
    const unit = counted ? ` ${names[bound === "1" ? 0 : 1]!}` : "";
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

/** The schemas that what is at `path` may have to meet. */
function schemasAt(schema: Schema, path: readonly PropertyKey[]): readonly Schema[] {
  let level: readonly Schema[] = [schema];
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
  return level;
}

/** The keys that the object at `path` of `value` may have, those of variants that it is not left out. */
function knownKeys(schema: Schema, path: readonly PropertyKey[], value: unknown): ReadonlySet<string> {
  const actual = valueAt(value, path);
  const shapes = schemasAt(schema, path)
    .flatMap(alternatives)
    .flatMap((one) => {
      const { def } = (one as z.core.$ZodTypes)._zod;
      return def.type === "object" ? [(def as z.core.$ZodObjectDef).shape] : [];
    });
  const fits = (shape: z.core.$ZodShape): boolean =>
    Object.entries(shape).every(([key, field]) => {
      const { def } = (field as z.core.$ZodTypes)._zod;
      const own = valueAt(actual, [key]);
      return def.type !== "literal" || own === undefined || def.values.some((one) => one === own);
    });
  const fitting = shapes.filter(fits);
  return new Set((fitting.length > 0 ? fitting : shapes).flatMap((shape) => Object.keys(shape)));
}

/** True for the name of a secret (`writeOnly` in its meta). */
function isSecret(schema: Schema): boolean {
  return alternatives(schema).some((one) => globalRegistry.get(one)?.["writeOnly"] === true);
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
