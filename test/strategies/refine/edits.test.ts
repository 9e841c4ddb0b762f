import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { shippedVocabularies, vocabularyFile } from "#laurel/library/refiners";
import type { PromptRecord, RefineState } from "#laurel/strategies/refine/contract";
import { editsOf, simplify } from "#laurel/strategies/refine/edits";
import { createEvolve } from "#laurel/strategies/refine/evolve";
import { readVocabulary } from "#laurel/strategies/refine/vocabulary";
import { print, tidy, tokenize } from "#laurel/strategies/refine/words";
import { vocabularyOf } from "./lamps.js";

const WORDS = vocabularyOf(`
words: { colour: [[red, scarlet], [blue]], thing: [[lamp, light bulb], [table]] }
forms: { place: [[on, on it]] }
phrases: { object: ["a|the? {colour}? {thing}"] }
glue: [a, the, on]
closed: true
fillers: [please]
rewrites:
  - { from: "{object:b} ,? with|and? {object:a} {place:r}", to: "{a} {r} {b}" }
modifiers: { light: [at night] }
`);

/** Labels and results of the edits of one kind. */
function edits(prompt: string, kind: string, syntax: "plain" | "a1111" = "plain"): Record<string, string> {
  const found = editsOf(prompt, WORDS, syntax).filter((edit) => edit.kind === kind);
  return Object.fromEntries(found.map((edit) => [edit.label, edit.prompt]));
}

describe("edits", () => {
  test("put the plain word for another of its entry, with the article that fits", () => {
    expect(edits("An scarlet light bulb", "word")).toEqual({
      "word: scarlet -> red": "A red light bulb",
      "word: light bulb -> lamp": "A scarlet lamp",
    });
    expect(edits("a red lamp", "variant")).toEqual({
      "variant: red -> scarlet": "a scarlet lamp",
      "variant: lamp -> light bulb": "a red light bulb",
    });
  });

  test("drop fillers and, where the vocabulary is all that matters, words it does not know", () => {
    expect(edits("Please, we see a lamp shining on the table", "drop")).toEqual({
      "drop: Please": "we see a lamp shining on the table",
      "drop: we see": "Please, a lamp shining on the table",
      "drop: shining": "Please, we see a lamp on the table",
    });
  });

  test("say it in another order where a pattern matches", () => {
    expect(edits("a blue table with a scarlet lamp on it", "order")).toEqual({
      "order: a blue table with a scarlet lamp on it -> a scarlet lamp on a blue table":
        "a scarlet lamp on a blue table",
    });
    expect(edits("a scarlet lamp on a blue table", "order")).toEqual({});
  });

  test("move and leave out clauses", () => {
    expect(edits("a lamp, a table", "clause")).toEqual({
      "clause: a lamp last": "a table, a lamp",
      "clause: a table first": "a table, a lamp",
      "clause: without a lamp": "a table",
      "clause: without a table": "a lamp",
    });
  });

  test("add what is not there yet", () => {
    expect(edits("a lamp", "add")).toEqual({ "add: at night": "a lamp, at night" });
    expect(edits("a lamp at night", "add")).toEqual({});
  });

  test("stress words only where brackets mean that", () => {
    expect(edits("a red lamp", "stress")).toEqual({});
    expect(edits("a red lamp", "stress", "a1111")).toEqual({
      "stress: red": "a (red:1.3) lamp",
      "stress: lamp": "a red (lamp:1.3)",
    });
    for (const edit of editsOf("a (red lamp, please:1.2), a [table", WORDS, "a1111")) {
      expect(edit.prompt).toMatch(/^[^()[\]]*$|^[^()[\]]*\([^()[\]]*\)[^()[\]]*$/u);
    }
  });

  test("simplify together to the plainest prompt, in the steps that are named", () => {
    const { prompt, labels } = simplify("please, we see a blue table with a scarlet light bulb on it", WORDS, "plain");
    expect(prompt).toBe("a red lamp on a blue table");
    expect(labels).toContain("word: scarlet -> red");
    expect(simplify(prompt, WORDS, "plain")).toEqual({ prompt, labels: [] });
  });

  test("leave prompts alone that nothing reads whole, and odd ones unharmed", () => {
    expect(editsOf("lamp ".repeat(301), WORDS, "plain")).toEqual([]);
    for (const odd of ["", " , ,", "…", "🙂 lamp", "a a a", "((", "-- please --", "constructor __proto__ lamp"]) {
      for (const edit of editsOf(odd, WORDS, "a1111")) expect(edit.prompt.trim()).not.toBe("");
    }
  });
});

test("a prompt is put together as it was taken apart", () => {
  for (const text of ["a b, c; d's (e:1.3) - f/g “h” 3.5 ünï", "x"]) expect(print(tokenize(text))).toBe(text);
  expect(print(tidy(tokenize(", a a an lamp,, b ,")))).toBe("a lamp, b");
});

describe("evolve", () => {
  const state = (history: readonly PromptRecord[], change: Partial<RefineState> = {}): RefineState => ({
    original: "please a scarlet light bulb",
    promptSyntax: "plain",
    history,
    round: history.length,
    seed: 5,
    ...change,
  });
  const record = (prompt: string, parent: string | null, edit: string | null, mean: number, gain: number): PromptRecord => ({
    prompt, parent, edit, mean, candidates: 2, best: mean, low: null, high: null,
    gain: parent === null ? null : { estimate: gain, low: null, high: null, seeds: 2 }, excluded: null,
  }); // prettier-ignore
  const propose = async (given: RefineState, count = 6): Promise<readonly string[]> =>
    (await createEvolve(WORDS).propose(given, count, undefined)).proposals.map(({ prompt }) => prompt);

  test("proposes the plainest prompt first, different ones, and the same for the same state", async () => {
    const prompts = await propose(state([]));
    expect(prompts[0]).toBe("a red lamp");
    expect(new Set(prompts).size).toBe(6);
    expect(prompts).not.toContain("please a scarlet light bulb");
    expect(await propose(state([]))).toEqual(prompts);
    expect(await propose(state([], { seed: 6 }))).not.toEqual(prompts);
  });

  test("goes on with edits that helped, and crosses prompts that did well", async () => {
    const original = "please a scarlet light bulb";
    const history = [
      record(original, null, null, 0, 0),
      record("please a red light bulb", original, "word: scarlet -> red", 1, 1),
      record("please a scarlet light bulb, at night", original, "add: at night", 1, 1),
      record("a scarlet light bulb", original, "drop: please", -2, -2),
      record("please a scarlet lamp", original, "word: light bulb -> lamp", -1, -1),
    ];
    const prompts = await propose(state(history), 4);
    expect(prompts).toContain("please a red light bulb, at night");
    // what lost is not tried again on what won
    expect(prompts.slice(0, 2).filter((prompt) => prompt.startsWith("a ") || /\blamp\b/u.test(prompt))).toEqual([]);
    const known = new Set(history.map(({ prompt }) => prompt));
    expect((await propose(state(history), 50)).filter((prompt) => known.has(prompt))).toEqual([]);
  });

  test("says when a prompt is too long to be edited", async () => {
    const { proposals, warnings } = await createEvolve(WORDS).propose(
      state([], { original: "lamp ".repeat(400) }),
      4,
      undefined,
    );
    expect(proposals).toEqual([]);
    expect(warnings).toEqual(["evolve: expected a prompt of at most 300 words, got 400; it is not edited"]);
  });
});

describe("vocabularies", () => {
  test("are refused with every fault and its place", () => {
    const wrong = `
words: { colour: [[red], ["!"]] }
forms: { colour: [[x]] }
phrases: { object: ["{colour} {shape}"] }
rewrites:
  - { from: "{color:a} x", to: "{a}" }
  - { from: "{colour:a} x", to: "{b}" }
  - { from: "x?", to: "y" }
filler: [please]
`;
    expect(() => vocabularyOf(wrong)).toThrow(/^words\.yaml:10:1: unknown key filler; did you mean fillers\?$/);
    let faults: readonly string[] = [];
    try {
      vocabularyOf(wrong.replace("filler:", "fillers:"));
    } catch (error) {
      ({ faults } = error as { faults: readonly string[] });
    }
    expect(faults).toEqual([
      "words.yaml:4:10: forms.colour: words has this name already",
      "words.yaml:5:21: phrases.object.0: expected one of colour in braces, got shape",
      "words.yaml:7:13: rewrites.0.from: expected one of colour, object in braces, got color",
      "words.yaml:8:33: rewrites.1.to: expected one of {a}, got {b}",
      "words.yaml:9:13: rewrites.2.from: expected something that must be there, got nothing",
    ]);
  });

  test("that ship are sound; names that are none are refused with the nearest", async () => {
    expect(shippedVocabularies()).toEqual(["general", "shapes"]);
    expect(readdirSync("configs/prompts").sort()).toEqual(["general.yaml", "shapes.yaml"]);
    for (const name of shippedVocabularies()) await readVocabulary(vocabularyFile(name));
    expect(() => vocabularyFile("shape")).toThrow(
      "vocabulary: expected general, shapes or a YAML file, got shape; did you mean shapes?",
    );
    expect(() => vocabularyFile("../prompts/shapes")).toThrow(/^vocabulary: expected/);
  });

  test("of shapes was written without the sentences that refinement is measured on, and the refiner without the demo world", async () => {
    const shapes = await readFile("configs/prompts/shapes.yaml", "utf8");
    const heldOut = [
      "can be seen",
      "drawing",
      "draw ",
      "then",
      "positioned",
      "we see",
      "nothing but",
      "itself",
      "in front",
      "canvas",
    ];
    for (const words of heldOut) expect(shapes).not.toContain(words);
    for (const name of readdirSync("src/strategies/refine")) {
      expect(await readFile(`src/strategies/refine/${name}`, "utf8")).not.toMatch(/from "[^"]*demo/u);
    }
  });

  test("a pattern with many ways to match gives up in good time", () => {
    const greedy = vocabularyOf(`rewrites: [{ from: "{...:a} {...:b} {...:c} {...:d} zzz", to: "{a}" }]`);
    const startedAt = performance.now();
    expect(editsOf("lamp ".repeat(300).trim(), greedy, "plain")).toEqual([]);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });
});
