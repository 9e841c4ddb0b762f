import { readFileSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";
import type { Tokenizer } from "#laurel/tokenizers/types";

const folder = fileURLToPath(new URL("../fixtures/tokenizers/", import.meta.url));
const fixture = JSON.parse(readFileSync(join(folder, "ids.json"), "utf8")) as {
  prompts: string[];
  slowAndFastDiffer: { clip: number; bert: number };
  /** An encoding is null where the reference cannot be given the prompt: lone surrogates, and the fast tokenizer. */
  clip: Record<string, { pad: number; length: number; ids: (number[] | null)[] }>;
  bert: Record<string, { settings: Record<string, boolean>; size: number; ids: number[][] }>;
};

/** Collects what differs: an assertion for each of thousands of prompts would take longer than the prompts. */
function expectIds(tokenizer: Tokenizer, golden: readonly (number[] | null)[], pad: number): void {
  expect(golden.length).toBe(fixture.prompts.length);
  const differing: unknown[] = [];
  for (const [i, prompt] of fixture.prompts.entries()) {
    const expected = golden[i];
    if (expected === null || expected === undefined) continue;
    const { ids, mask, eosIndex } = tokenizer.encode(prompt);
    const padding = tokenizer.maxLength - expected.length;
    const full = [...expected, ...new Array<number>(padding).fill(pad)];
    const fullMask = [...expected.map(() => 1), ...new Array<number>(padding).fill(0)];
    const isEqual = ids.join() === full.join() && mask.join() === fullMask.join() && ids[eosIndex] === expected.at(-1);
    if (!isEqual) differing.push({ prompt, ids, mask, eosIndex, expected });
  }
  expect(differing).toEqual([]);
}

describe("CLIP's tokenizer", () => {
  for (const [name, { pad, length, ids }] of Object.entries(fixture.clip)) {
    it(`gives the ids of transformers for ${ids.length} prompts with the files of ${name}`, async () => {
      const tokenizer = await openClipTokenizer(join(folder, name));
      expect(tokenizer.maxLength).toBe(length);
      expectIds(tokenizer, ids, pad);
    });
  }

  it("takes tokenizer.json for the fast tokenizer's, 77 tokens where nothing else is said", () => {
    const [slow, fast] = [fixture.clip["sd1"], fixture.clip["clip-json"]];
    expect(fast?.length).toBe(77);
    const differing = fixture.prompts.filter((_, i) => `${slow?.ids[i]?.join()}` !== `${fast?.ids[i]?.join()}`);
    // Ideographs, invisible and unassigned characters, final sigmas, the long s: never a prompt of ASCII.
    expect(differing).toHaveLength(fixture.slowAndFastDiffer.clip);
    expect(differing.filter((prompt) => /^[\t-~]*$/.test(prompt))).toEqual([]);
  });

  it("pads with the end token in Stable Diffusion 1 and with ! in 2, and tells the first end token's place", async () => {
    const one = (await openClipTokenizer(join(folder, "sd1"))).encode("a cat");
    const two = (await openClipTokenizer(join(folder, "sd2"))).encode("a cat");
    expect(one.ids.at(-1)).toBe(one.ids[one.eosIndex]);
    expect(two.ids.at(-1)).toBe(0);
    expect(one.mask.reduce((sum, value) => sum + value, 0)).toBe(one.eosIndex + 1);
  });

  it("knows how many rows an embedding needs", async () => {
    expect((await openClipTokenizer(join(folder, "sd1"))).vocabularySize).toBe(49_408);
  });
});

describe("BERT's tokenizer", () => {
  let scratch = "";
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "laurel-tokenizers-"));
  });
  afterAll(() => rm(scratch, { recursive: true }));

  for (const [name, { settings, size, ids }] of Object.entries(fixture.bert)) {
    it(`gives the ids of transformers for ${ids.length} prompts, ${name}`, async () => {
      const path = join(scratch, name);
      await cp(join(folder, "bert"), path, { recursive: true });
      await writeFile(join(path, "tokenizer_config.json"), JSON.stringify(settings));
      const tokenizer = await openBertTokenizer(path, { maxLength: 35 });
      expectIds(tokenizer, ids, 0);
      expect(tokenizer.vocabularySize).toBe(size);
    });
  }

  it("takes a vocabulary file or tokenizer.json for a folder, with the slow tokenizer's ids", async () => {
    const { ids } = fixture.bert["uncased"] as { ids: number[][] };
    for (const path of ["bert/vocab.txt", "bert-json", "bert-json/tokenizer.json"]) {
      expectIds(await openBertTokenizer(join(folder, path), { maxLength: 35 }), ids, 0);
    }
  });
});

describe("what is cut from a long prompt", () => {
  it("is told as the prompt has it, from the first word that is not fully kept", async () => {
    const tokenizer = await openClipTokenizer(join(folder, "sd2-short"), { maxLength: 10 });
    const { truncated, ids } = tokenizer.encode("A Red circle above a blue SQUARE, lighthouse on the right");
    expect(truncated).toBe("lighthouse on the right");
    expect(ids.slice(1, 9)).toEqual(tokenizer.tokenize("A Red circle above a blue SQUARE,"));
  });

  it("is absent when the prompt fits to the last token", async () => {
    const tokenizer = await openClipTokenizer(join(folder, "sd1"), { maxLength: 10 });
    expect(tokenizer.encode("a red circle above a blue square,")).not.toHaveProperty("truncated");
    expect(tokenizer.encode("a red circle above a blue square, dog").truncated).toBe("dog");
  });

  it("names a word that is kept in part as a whole, and single ideographs", async () => {
    const clip = await openClipTokenizer(join(folder, "sd1"), { maxLength: 6 });
    expect(clip.encode("cat xyzzyqx").truncated).toBe("xyzzyqx");
    const bert = await openBertTokenizer(join(folder, "bert"), { maxLength: 6 });
    expect(bert.encode("一只猫一只猫").truncated).toBe("只猫");
  });

  it("agrees with the ids kept, over all golden prompts", async () => {
    const tokenizer = await openBertTokenizer(join(folder, "bert"), { maxLength: 12 });
    const wrong = fixture.prompts.filter((prompt) => {
      const { truncated } = tokenizer.encode(prompt);
      const isEnd = truncated === undefined || prompt.trimEnd().endsWith(truncated);
      return !isEnd || (truncated === undefined) !== tokenizer.tokenize(prompt).length <= 10;
    });
    expect(wrong).toEqual([]);
  });
});

describe("any text at all", () => {
  it("becomes ids of the fixed length that an embedding of the vocabulary's size has", async () => {
    const tokenizers = [
      await openClipTokenizer(join(folder, "sd2-short")),
      await openClipTokenizer(join(folder, "clip-json-sd2")),
      await openBertTokenizer(join(folder, "bert"), { maxLength: 35 }),
    ];
    // Lone surrogates included: a prompt may come from a broken file.
    const anyText = fc.oneof(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.string({ unit: "grapheme", maxLength: 100 }),
    );
    fc.assert(
      fc.property(anyText, fc.boolean(), (text, broken) => {
        return tokenizers.every(({ encode, maxLength, vocabularySize }) => {
          const { ids, mask, eosIndex } = encode(broken ? `${text}\ud800${text}` : text);
          const areIds = ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabularySize);
          return areIds && ids.length === maxLength && mask.length === maxLength && mask[eosIndex] === 1;
        });
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});
