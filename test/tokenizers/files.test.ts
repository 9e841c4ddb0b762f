import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ModelError, UsageError } from "#laurel/errors";
import { openBertTokenizer } from "#laurel/tokenizers/bert";
import { openClipTokenizer } from "#laurel/tokenizers/clip";

let scratch = "";
let count = 0;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "laurel-tokenizer-files-"));
});
afterAll(() => rm(scratch, { recursive: true }));

async function folder(files: Record<string, unknown>): Promise<string> {
  const path = join(scratch, String(count++));
  await mkdir(path);
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(path, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return path;
}

const vocab = { "<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, a: 3, "b</w>": 4, "ab</w>": 5 };
const merges = "#version: 0.2\na b</w>\n";
const bert = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##b\n";

async function clipFailure(files: Record<string, unknown>): Promise<string> {
  const error: unknown = await openClipTokenizer(await folder(files)).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ModelError);
  return (error as Error).message.replace(scratch, "");
}

async function bertFailure(files: Record<string, unknown>): Promise<string> {
  const path = await folder(files);
  const error: unknown = await openBertTokenizer(path, { maxLength: 35 }).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ModelError);
  return (error as Error).message.replace(scratch, "");
}

describe("a CLIP tokenizer's files", () => {
  it("are enough without any configuration", async () => {
    const tokenizer = await openClipTokenizer(await folder({ "vocab.json": vocab, "merges.txt": merges }), {
      maxLength: 5,
    });
    expect(tokenizer.encode("AB a")).toEqual({ ids: [0, 5, 2, 1, 1], mask: [1, 1, 1, 1, 0], eosIndex: 3 });
  });

  it("are refused when missing, damaged or at odds", async () => {
    expect(await clipFailure({})).toMatch(/expected vocab.json and merges.txt, or tokenizer.json, got neither$/);
    expect(await clipFailure({ "vocab.json": vocab })).toMatch(
      /merges.txt: expected the merges beside vocab.json, got no file$/,
    );
    expect(await clipFailure({ "vocab.json": "{", "merges.txt": merges })).toMatch(/vocab.json: expected JSON, got /);
    expect(await clipFailure({ "vocab.json": [], "merges.txt": merges })).toMatch(
      /expected a JSON object, got an array$/,
    );
    expect(await clipFailure({ "vocab.json": { a: "x" }, "merges.txt": merges })).toMatch(
      /vocab.json: expected a whole number as id of "a", got x$/,
    );
    expect(await clipFailure({ "vocab.json": { a: 1, b: 1 }, "merges.txt": merges })).toMatch(
      /vocab.json: expected every id once, got 1 for "a" and "b"$/,
    );
    expect(await clipFailure({ "vocab.json": vocab, "merges.txt": "#v\na b c\n" })).toMatch(
      /merges.txt: expected two symbols in merge 1, got \["a","b","c"\]$/,
    );
  });

  it("are refused without the special tokens, all missing ones named", async () => {
    const special = { pad_token: "[PAD]", bos_token: { content: "<s>" } };
    const files = { "vocab.json": vocab, "merges.txt": merges, "tokenizer_config.json": special };
    expect(await clipFailure(files)).toMatch(
      /vocab.json: expected the special tokens in a vocabulary of 6, got none for <s>, \[PAD\]$/,
    );
  });

  it("are refused as tokenizer.json of another kind", async () => {
    const model = { type: "WordPiece", vocab: {} };
    expect(await clipFailure({ "tokenizer.json": { model } })).toMatch(/expected a BPE tokenizer, got WordPiece$/);
    expect(await clipFailure({ "tokenizer.json": {} })).toMatch(/expected a BPE tokenizer, got no model$/);
  });

  it("are refused as tokenizer.json that cuts text otherwise than CLIP's", async () => {
    const model = { type: "BPE", vocab, merges: [["a", "b</w>"]], end_of_word_suffix: "</w>" };
    const normalizer = { type: "Sequence", normalizers: [{ type: "NFC" }, { type: "Replace" }, { type: "Lowercase" }] };
    const pattern = { Regex: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" };
    const pre_tokenizer = { type: "Sequence", pretokenizers: [{ type: "Split", pattern }, { type: "ByteLevel" }] };
    const sound = { model, normalizer, pre_tokenizer };
    const tokenizer = await openClipTokenizer(await folder({ "tokenizer.json": sound }));
    expect(tokenizer.tokenize("AB a")).toEqual([5, 2]);
    const refused = async (change: object) => clipFailure({ "tokenizer.json": { ...sound, ...change } });
    expect(await refused({ normalizer: { type: "NFKC" } })).toMatch(
      /tokenizer.json: expected CLIP's normalizer NFC, Replace, Lowercase, got NFKC$/,
    );
    expect(await refused({ normalizer: null })).toMatch(/Lowercase, got none$/);
    expect(await refused({ pre_tokenizer: { type: "ByteLevel" } })).toMatch(/expected CLIP's pattern .*, got none$/);
    expect(await refused({ model: { ...model, end_of_word_suffix: "" } })).toMatch(
      /expected "<\/w>" as end_of_word_suffix, got ""$/,
    );
    expect(await refused({ model: { ...model, merges: undefined } })).toMatch(/expected a list of merges/);
    expect(await refused({ added_tokens: [{ content: "x", id: -1 }] })).toMatch(
      /expected added_tokens with content and id, got /,
    );
  });

  it("need room for a token", async () => {
    const path = await folder({ "vocab.json": vocab, "merges.txt": merges });
    await expect(openClipTokenizer(path, { maxLength: 2 })).rejects.toThrow(UsageError);
  });
});

describe("a BERT tokenizer's files", () => {
  it("are enough as a list of tokens, to which BLIP's two are added once", async () => {
    const tokenizer = await openBertTokenizer(await folder({ "vocab.txt": bert }), { maxLength: 8 });
    expect(tokenizer.encode("Ab [ENC] c [DEC]").ids).toEqual([2, 4, 5, 7, 1, 6, 3, 0]);
    expect(tokenizer.vocabularySize).toBe(8);
    const complete = await openBertTokenizer(await folder({ "vocab.txt": `[ENC]\n[DEC]\n${bert}` }), { maxLength: 8 });
    expect(complete.vocabularySize).toBe(8);
    expect(complete.encode("[ENC]").ids.slice(0, 3)).toEqual([4, 0, 5]);
  });

  it("are refused when missing or without the special tokens", async () => {
    expect(await bertFailure({})).toMatch(/expected vocab.txt or tokenizer.json in it, got no file$/);
    expect(await bertFailure({ "vocab.txt": "" })).toMatch(/vocab.txt: expected one token a line, got an empty file$/);
    expect(await bertFailure({ "vocab.txt": "a\nb\n[PAD]\n" })).toMatch(/got none for \[CLS\], \[SEP\], \[UNK\]$/);
    await expect(openBertTokenizer(join(scratch, "nowhere.txt"), { maxLength: 35 })).rejects.toThrow(
      "nowhere.txt: expected a vocabulary, got no file",
    );
  });
});
