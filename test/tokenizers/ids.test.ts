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
  clip: Record<string, { pad: number; length: number; ids: number[][] }>;
  bert: Record<string, { settings: Record<string, boolean>; size: number; ids: number[][] }>;
};

function expectIds(tokenizer: Tokenizer, golden: number[][], pad: number): void {
  for (const [i, prompt] of fixture.prompts.entries()) {
    const expected = golden[i] as number[];
    const { ids, mask, eosIndex } = tokenizer.encode(prompt);
    const padding = new Array<number>(tokenizer.maxLength - expected.length).fill(pad);
    expect(ids, JSON.stringify(prompt)).toEqual([...expected, ...padding]);
    expect(mask).toEqual([...expected.map(() => 1), ...padding.map(() => 0)]);
    expect(ids[eosIndex]).toBe(expected.at(-1));
  }
}

describe("CLIP's tokenizer", () => {
  for (const [name, { pad, length, ids }] of Object.entries(fixture.clip)) {
    it(`gives the ids of transformers for ${ids.length} prompts with the files of ${name}`, async () => {
      const tokenizer = await openClipTokenizer(join(folder, name));
      expect(tokenizer.maxLength).toBe(length);
      expectIds(tokenizer, ids, pad);
    });
  }

  it("reads tokenizer.json alone to the same ids, and 77 tokens where nothing else is said", async () => {
    const tokenizer = await openClipTokenizer(join(folder, "sd1-json"));
    const { ids, pad } = fixture.clip["sd1"] as { pad: number; ids: number[][] };
    expect(tokenizer.maxLength).toBe(77);
    expectIds(tokenizer, ids, pad);
  });

  it("pads with the end token in Stable Diffusion 1 and with ! in 2, and tells the first end token's place", async () => {
    const one = (await openClipTokenizer(join(folder, "sd1"))).encode("a cat");
    const two = (await openClipTokenizer(join(folder, "sd2"))).encode("a cat");
    expect(one.ids.at(-1)).toBe(one.ids[one.eosIndex]);
    expect(two.ids.at(-1)).toBe(0);
    expect(one.mask.reduce((sum, value) => sum + value, 0)).toBe(one.eosIndex + 1);
  });

  it("knows how many rows an embedding needs", async () => {
    const { ids } = fixture.clip["sd1"] as { ids: number[][] };
    expect((await openClipTokenizer(join(folder, "sd1"))).vocabularySize).toBe((ids[0]?.[1] as number) + 1);
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

  it("takes a vocabulary file or tokenizer.json for a folder", async () => {
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
    for (const prompt of fixture.prompts) {
      const { truncated } = tokenizer.encode(prompt);
      expect(truncated === undefined, JSON.stringify(prompt)).toBe(tokenizer.tokenize(prompt).length <= 10);
      if (truncated !== undefined) expect(prompt.trimEnd().endsWith(truncated)).toBe(true);
    }
  });
});

describe("any text at all", () => {
  it("becomes ids of the fixed length that an embedding of the vocabulary's size has", async () => {
    const tokenizers = [
      await openClipTokenizer(join(folder, "sd2-short")),
      await openBertTokenizer(join(folder, "bert"), { maxLength: 35 }),
    ];
    // Lone surrogates included: a prompt may come from a broken file.
    const anyText = fc.oneof(
      fc.string({ unit: "binary", maxLength: 200 }),
      fc.string({ unit: "grapheme", maxLength: 100 }),
    );
    fc.assert(
      fc.property(anyText, fc.boolean(), (text, broken) => {
        for (const { encode, maxLength, vocabularySize } of tokenizers) {
          const { ids, mask, eosIndex } = encode(broken ? `${text}\ud800${text}` : text);
          expect([ids.length, mask.length]).toEqual([maxLength, maxLength]);
          expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < vocabularySize)).toBe(true);
          expect(mask[eosIndex]).toBe(1);
        }
      }),
      { seed: 1, numRuns: 200 },
    );
  });
});
