/** @file The strict JSON parser agrees with JSON.parse on what both accept, and refuses more. */

import fc from "fast-check";
import type { JsonValue } from "#laurel/util/strict-json";
import { parseStrictJson } from "#laurel/util/strict-json";
import { describe, expect, it } from "vitest";

function plain(value: JsonValue): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

describe("parseStrictJson", () => {
  it("reads what JSON.stringify writes", () => {
    const value = fc
      .jsonValue({ noUnicodeString: false, maxDepth: 3 })
      .filter((json) => !/\\ud|\d{16}/.test(JSON.stringify(json)));
    fc.assert(
      fc.property(value, (json) => {
        const text = JSON.stringify(json, undefined, 1);
        expect(JSON.stringify(plain(parseStrictJson(text)))).toBe(JSON.stringify(JSON.parse(text)));
      }),
      { seed: 20, numRuns: 100 },
    );
  });

  it("refuses whatever JSON.parse refuses", () => {
    const grammar = fc.array(
      fc.constantFrom("{", "}", "[", "]", ",", ":", '"a"', '"', "1", "-", "0", ".5", "e3", "true", "nul", " ", "\\"),
      {
        maxLength: 8,
      },
    );
    fc.assert(
      fc.property(grammar, (tokens) => {
        const text = tokens.join("");
        const parsed = attempt(() => JSON.parse(text) as unknown);
        const strict = attempt(() => parseStrictJson(text));
        if (strict.ok) expect(parsed.ok).toBe(true);
        else if (parsed.ok) expect(strict.message).toMatch(/each key once|held exactly/);
      }),
      { seed: 20, numRuns: 1000 },
    );
  });

  it("refuses duplicate keys, also when escapes hide them", () => {
    expect(() => parseStrictJson('{"a":1,"\\u0061":2}')).toThrow('each key once ("a" is repeated)');
  });

  it("keeps __proto__ and constructor as ordinary keys", () => {
    const parsed = parseStrictJson('{"__proto__":1,"constructor":2}');
    expect([...(parsed as Map<string, JsonValue>).keys()]).toEqual(["__proto__", "constructor"]);
  });

  it.each([
    '"\\ud800"',
    "9007199254740993",
    "1e999",
    "[".repeat(100) + "]".repeat(100),
    "",
    "{} {}",
    '"\u0001"',
    "01",
    "+1",
    "NaN",
  ])("refuses %s", (text) => expect(() => parseStrictJson(text)).toThrow(SyntaxError));
});

function attempt(parse: () => unknown): { ok: true } | { ok: false; message: string } {
  try {
    parse();
    return { ok: true };
  } catch (error) {
    return { ok: false, message: (error as Error).message };
  }
}
