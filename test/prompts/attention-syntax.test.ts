/**
 * @file What prompts mean, worked out by hand from AUTOMATIC1111's documentation: `(a)` is 1.1, `[a]` is 1/1.1, `(a:x)` is x, nesting multiplies,
 * a backslash makes a bracket text (https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis).
 */

import { describe, expect, test } from "vitest";
import { UsageError } from "#laurel/errors";
import { parseAttention, promptMeaning, syntaxWarnings } from "#laurel/prompts/attention-syntax";

const BREAK = "BREAK";
const UP = 1.1;
const DOWN = 1 / 1.1;

type Row = readonly [prompt: string, fragments: readonly (readonly [text: string, weight: number] | typeof BREAK)[]];

const ROWS: readonly Row[] = [
  // without syntax
  ["normal text", [["normal text", 1]]],
  ["", []],
  ["   ", [["   ", 1]]],
  ["a, b; c - d", [["a, b; c - d", 1]]],
  ["{a}", [["{a}", 1]]],
  ["a:b", [["a:b", 1]]],
  // round and square brackets
  ["(a)", [["a", UP]]],
  ["((a))", [["a", UP ** 2]]],
  ["(((a)))", [["a", 1.331]]],
  ["((((a))))", [["a", 1.4641]]],
  ["[a]", [["a", DOWN]]],
  ["[[a]]", [["a", 1 / 1.21]]],
  ["[[[a]]]", [["a", 1 / 1.331]]],
  [
    "an (important) word",
    [
      ["an ", 1],
      ["important", UP],
      [" word", 1],
    ],
  ],
  [
    "a [faint] word",
    [
      ["a ", 1],
      ["faint", DOWN],
      [" word", 1],
    ],
  ],
  [
    "(((a)) b)",
    [
      ["a", 1.331],
      [" b", UP],
    ],
  ],
  ["(é😀)", [["é😀", UP]]],
  ["(1.5)", [["1.5", UP]]],
  // one undoes the other
  ["x ([a]) y", [["x a y", 1]]],
  ["x [(a)] y", [["x a y", 1]]],
  // neighbours of one weight
  ["(unnecessary)(parens)", [["unnecessaryparens", UP]]],
  ["(a,b)(c)", [["a,bc", UP]]],
  ["(b)(c:1.1)", [["bc", UP]]],
  ["x (a:1) y", [["x a y", 1]]],
  // stated weights
  ["(a:1.3)", [["a", 1.3]]],
  ["(a:0.5)", [["a", 0.5]]],
  ["(a:2)", [["a", 2]]],
  ["(a:1.)", [["a", 1]]],
  ["(a:.5)", [["a", 0.5]]],
  ["(a:+1.5)", [["a", 1.5]]],
  ["(a:-1)", [["a", -1]]],
  ["(a:0)", [["a", 0]]],
  ["(a: 1.3)", [["a", 1.3]]],
  ["(a:1.3 )", [["a", 1.3]]],
  ["(a : 1.3)", [["a ", 1.3]]],
  ["( a:1.3)", [[" a", 1.3]]],
  [
    "(red:1.2) (blue:0.8)",
    [
      ["red", 1.2],
      [" ", 1],
      ["blue", 0.8],
    ],
  ],
  [
    "((a:1.2) b)",
    [
      ["a", 1.32],
      [" b", UP],
    ],
  ],
  [
    "((a:1.2) b:1.5)",
    [
      ["a", 1.8],
      [" b", 1.5],
    ],
  ],
  [
    "[(a:1.2) b]",
    [
      ["a", 1.2 / 1.1],
      [" b", DOWN],
    ],
  ],
  ["(a:b:1.2)", [["a:b", 1.2]]],
  ["(a::1.3)", [["a:", 1.3]]],
  // what only looks like a weight
  ["(a:b)", [["a:b", UP]]],
  ["(a:1,3)", [["a:1,3", UP]]],
  ["(a:1.3x)", [["a:1.3x", UP]]],
  ["(a:1e3)", [["a:1e3", UP]]],
  ["[a:1.3]", [["a:1.3", DOWN]]],
  ["(a|b)", [["a|b", UP]]],
  // brackets without their partner
  ["(unbalanced", [["unbalanced", UP]]],
  [
    "a (b",
    [
      ["a ", 1],
      ["b", UP],
    ],
  ],
  ["[a", [["a", DOWN]]],
  ["((a)", [["a", 1.21]]],
  ["a)", [["a)", 1]]],
  ["a]", [["a]", 1]]],
  [
    "(a))",
    [
      ["a", UP],
      [")", 1],
    ],
  ],
  [
    "[a]]",
    [
      ["a", DOWN],
      ["]", 1],
    ],
  ],
  ["(a]", [["a]", UP]]],
  ["[a)", [["a)", DOWN]]],
  ["(a:1.3", [["a:1.3", UP]]],
  ["a:1.3)", [["a:1.3)", 1]]],
  ["[a:1.3)", [["a:1.3)", DOWN]]],
  [
    "(a [b) c]",
    [
      ["a ", UP],
      ["b", 1],
      [" c", DOWN],
    ],
  ],
  ["()", []],
  ["[]", []],
  ["(:1.3)", []],
  // escapes
  ["\\(literal\\]", [["(literal]", 1]]],
  ["\\[a\\]", [["[a]", 1]]],
  ["\\\\", [["\\", 1]]],
  ["a\\b", [["ab", 1]]],
  ["(\\(a\\))", [["(a)", UP]]],
  ["(a \\(b\\):1.4)", [["a (b)", 1.4]]],
  ["\\(a:1.2)", [["(a:1.2)", 1]]],
  ["(a:1.2\\)", [["a:1.2)", UP]]],
  // everything at once: the example of the reference's own documentation
  [
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    [
      ["a ", 1],
      ["house", 1.3 * 1.21],
      [" ", UP],
      ["on", 1],
      [" a ", UP],
      ["hill", 0.55],
      [", sun, ", UP],
      ["sky", 1.4641],
      [".", UP],
    ],
  ],
  // breaks
  ["BREAK", [BREAK]],
  ["a BREAK b", [["a", 1], BREAK, ["b", 1]]],
  ["a\nBREAK\n b", [["a", 1], BREAK, ["b", 1]]],
  ["a, BREAK, b", [["a,", 1], BREAK, [", b", 1]]],
  ["a-BREAK-b", [["a-", 1], BREAK, ["-b", 1]]],
  ["BREAK a", [BREAK, ["a", 1]]],
  ["a BREAK", [["a", 1], BREAK]],
  ["a BREAK BREAK b", [["a", 1], BREAK, BREAK, ["b", 1]]],
  ["(a) BREAK (b:1.2)", [["a", UP], BREAK, ["b", 1.2]]],
  ["(a BREAK b:1.3)", [["a", 1.3], BREAK, ["b", 1.3]]],
  ["aBREAK BREAKa BREAK_ éBREAK break", [["aBREAK BREAKa BREAK_ éBREAK break", 1]]],
  // extra networks are taken out
  ["<lora:foo:0.8> a", [[" a", 1]]],
  [
    "a <hypernet:x:1>(b)",
    [
      ["a ", 1],
      ["b", UP],
    ],
  ],
  ["<cat> a <3", [["<cat> a <3", 1]]],
  ["<a:>", [["<a:>", 1]]],
];

test.each(ROWS)("%j", (prompt, expected) => {
  const actual = parseAttention(prompt);
  expect(actual.map((one) => (one.kind === "break" ? BREAK : one.text))).toEqual(
    expected.map((one) => (one === BREAK ? BREAK : one[0])),
  );
  actual.forEach((one, i) => {
    // products of the same factors in another order differ in their last bits
    if (one.kind === "text") expect(one.weight).toBeCloseTo(expected[i]![1] as number, 12);
  });
});

describe("wrong weights", () => {
  test.each([
    ["(a:1.2.3)", 'prompt: expected a number as weight, got "1.2.3"; write \\( for a bracket of the text'],
    ["(wait:...)", 'prompt: expected a number as weight, got "..."; write \\( for a bracket of the text'],
    ["(a:1001)", 'prompt: expected weights from -1000 to 1000, got 1001 for "a"'],
    ["(a:-9999999999)", 'prompt: expected weights from -1000 to 1000, got -9999999999 for "a"'],
    [`(a:${"9".repeat(400)})`, 'prompt: expected weights from -1000 to 1000, got Infinity for "a"'],
  ])("%j", (prompt, message) => {
    expect(() => parseAttention(prompt)).toThrow(new UsageError(message));
  });

  test("brackets nested without end", () => {
    expect(() => parseAttention(`${"(".repeat(80)}a${")".repeat(80)}`)).toThrow("expected weights from -1000 to 1000");
    expect(parseAttention("([".repeat(20_000))).toEqual([]);
  });
});

test("much space takes no more time than as much text", () => {
  const started = performance.now();
  expect(parseAttention(`a${" ".repeat(200_000)}b BREAK  BREAK c`)).toHaveLength(4);
  // its square took 100 s
  expect(performance.now() - started).toBeLessThan(2000);
});

test.each([
  ["a (red:1.3) [circle] BREAK above \\(a\\) <lora:x:1> square", "a red circle above (a) square"],
  ["(a BREAK b)", "a b"],
  ["  (:1.2) BREAK ", ""],
])("the meaning of %j is %j", (prompt, meaning) => {
  expect(promptMeaning(prompt, "a1111")).toBe(meaning);
  expect(promptMeaning(prompt, "plain")).toBe(prompt);
});

describe("constructs that are not followed are named", () => {
  const inBrackets = "is not supported and is read as text in square brackets";
  test.each([
    ["a [cat:dog:0.5]", [`prompt: prompt editing [a:b:when] ${inBrackets}, got "[cat:dog:0.5]"`]],
    ["a [cat:10]", [`prompt: prompt editing [a:b:when] ${inBrackets}, got "[cat:10]"`]],
    ["a [ (x:1.2) :dog: .5 ]", [`prompt: prompt editing [a:b:when] ${inBrackets}, got "[ (x:1.2) :dog: .5 ]"`]],
    ["a [cat|dog] x", [`prompt: alternation [a|b] ${inBrackets}, got "[cat|dog]"`]],
    ["a cat AND a dog", ['prompt: composition with AND is not supported and is read as a word, got "AND"']],
    [
      "<lora:x:1> a <lora:y:1>",
      [
        'prompt: an extra network is not supported and is left out of the prompt, and nothing is loaded, got "<lora:x:1>"',
      ],
    ],
    ["(a:1.3) [b] \\[c:d:0.5\\] SAND BREAK [(e:1.2)] | a:b:1", []],
  ])("%j", (prompt, warnings) => {
    expect(syntaxWarnings("prompt", prompt)).toEqual(warnings);
  });
});
