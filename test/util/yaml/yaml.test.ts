import { describe, expect, it } from "vitest";
import { z } from "zod";
import { DocumentError, formatPlace, type Located, originAt, placeAt, plainValue } from "#laurel/util/yaml/located";
import { parseLocated } from "#laurel/util/yaml/parse";
import { validateLocated } from "#laurel/util/yaml/validate";

const parse = (text: string): Located => parseLocated(text, "x.yaml");
const value = (text: string): unknown => JSON.parse(JSON.stringify(plainValue(parse(text))));
const faults = (work: () => unknown): readonly string[] => {
  try {
    work();
  } catch (error) {
    if (error instanceof DocumentError) return error.faults;
    throw error;
  }
  return [];
};

describe("parseLocated", () => {
  it.each([
    ["a: 1\nb: [x, 'y', \"z\", ~, null, true, yes]", { a: 1, b: ["x", "y", "z", null, null, true, "yes"] }],
    ["a: |\n  one\n  two\nb: >-\n  one\n  two\n", { a: "one\ntwo\n", b: "one two" }],
    ["0x1F: 0o17\n1e3: -0.5", { "31": 15, "1000": -0.5 }],
    ["{ a: { b: [] }, c: }", { a: { b: [] }, c: null }],
    ["---\na: 1\n...\n", { a: 1 }],
    ["\uFEFFa: 1", { a: 1 }],
    ["# only\n- 2026-11-22 # a date is text\n", ["2026-11-22"]],
    ["a: &x { k: 1 }\nb: [*x, *x]", { a: { k: 1 }, b: [{ k: 1 }, { k: 1 }] }],
    ["a: &x 1\nb: &x 2\nc: *x", { a: 1, b: 2, c: 2 }],
    ["a: &x { k: &y 1 }\nb: &y 2\nc: *x\nd: *y", { a: { k: 1 }, b: 2, c: { k: 1 }, d: 2 }],
    ["constructor: 1\ntoString: 2\nhasOwnProperty: 3", { constructor: 1, toString: 2, hasOwnProperty: 3 }],
  ])("reads %j", (text, expected) => {
    expect(value(text)).toEqual(expected);
  });

  it("knows the place of every value and key, inside aliases that of the anchor", () => {
    const located = parse("a:\n  b: [1, { c: 2 }]\nd: &x\n  e: 3\nf: *x");
    const at = (...path: (string | number)[]): string => formatPlace(placeAt(located, path));
    expect(at("a", "b", 0)).toBe("x.yaml:2:7");
    expect(at("a", "b", 1, "c")).toBe("x.yaml:2:15");
    expect(formatPlace(placeAt(located, ["a", "b", 1, "c"], true))).toBe("x.yaml:2:12");
    expect(at("f", "e")).toBe("x.yaml:4:6");
    // the nearest that exists above it
    expect(at("a", "b", 7, "z")).toBe("x.yaml:2:6");
    expect(formatPlace(originAt(located, ["a", "b", 0]))).toBe("x.yaml:2:7");
  });

  it("mappings have no prototype", () => {
    expect(Object.getPrototypeOf(plainValue(parse("a: 1")))).toBeNull();
  });

  it.each([
    "{".repeat(80_000),
    "- ".repeat(40_000),
    "? ".repeat(40_000),
    `[${",".repeat(80_000)}`,
    "]".repeat(80_000),
    "a: [\n".repeat(50_000),
    `a: &a x\nb: [${"*a,".repeat(30_000)}]`,
    Array.from({ length: 30_000 }, (_, i) => `k${i}: 1`).join("\n"),
    `a: [${Array.from({ length: 20_000 }, (_, i) => `&a${i} x`).join(",")}]`,
    "---\n".repeat(30_000),
    `${'"'.repeat(80_000)}`,
  ])("answers soon, whatever the text: %.10s...", (text) => {
    const { user } = process.cpuUsage();
    try {
      parse(text);
    } catch (error) {
      expect(error).toBeInstanceOf(DocumentError);
    }
    expect((process.cpuUsage().user - user) / 1e6).toBeLessThan(5);
  });
});

describe("validateLocated", () => {
  const schema = z.strictObject({
    kind: z
      .discriminatedUnion("kind", [
        z.strictObject({ kind: z.literal("a"), size: z.number() }),
        z.strictObject({ kind: z.literal("b"), colour: z.enum(["red", "blue"]).optional() }),
      ])
      .optional(),
    list: z.array(z.union([z.string(), z.strictObject({ text: z.string() })])).optional(),
    more: z.record(z.string().regex(/^[a-z]+$/, "expected letters"), z.number()).optional(),
    pass: z.strictObject({ env: z.string() }).meta({ writeOnly: true }).optional(),
  });
  const check = (text: string): readonly string[] => faults(() => validateLocated(schema, parse(text)));

  it.each([
    ["kind: { kind: a, size: 1 }\nlist: [x, { text: y }]\nmore: { a: 1 }\npass: { env: X }", []],
    ["kind: { kind: c }", ['x.yaml:1:15: kind.kind: expected one of a, b, got "c"']],
    ["kind: { size: 1 }", ["x.yaml:1:7: kind.kind: expected one of a, b, got nothing"]],
    ["kind: { kind: b, color: red }", ["x.yaml:1:18: kind: unknown key color; did you mean colour?"]],
    ["kind: { kind: b, size: 1 }", ["x.yaml:1:18: kind: unknown key size; known are kind, colour"]],
    ["kind: { kind: b, colour: rde }", ['x.yaml:1:26: kind.colour: expected one of red, blue, got "rde"']],
    ["list: [1]", ["x.yaml:1:8: list.0: expected text or a mapping, got 1"]],
    [
      "list: [{ txet: a }]",
      ["x.yaml:1:8: list.0.text: expected text, got nothing", "x.yaml:1:10: list.0: unknown key txet; known are text"],
    ],
    ["more: { A1: 1 }", ["x.yaml:1:9: more.A1: expected letters"]],
    [
      "pass: hunter2",
      [
        "x.yaml:1:7: pass: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
      ],
    ],
    [
      "pass: { env: 5 }",
      [
        "x.yaml:1:7: pass: expected { env: NAME } or { file: PATH }, which say where the secret is, got something else (not shown here)",
      ],
    ],
    ["- 1", ["x.yaml:1:1: expected a mapping, got a list"]],
  ])("%s", (text, expected) => {
    expect(check(text)).toEqual(expected);
  });
});
