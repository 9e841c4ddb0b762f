/** @file BERT's tokenizer: WordPiece, id for id as transformers' `BertTokenizer` (v4.57.1), with the two tokens BLIP adds to it. */

import { stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ModelError } from "../errors.js";
import type { BasicTextOptions } from "./basic-text.js";
import { basicWords } from "./basic-text.js";
import type { WordPieceDescription } from "./description.js";
import type { JsonObject } from "./files.js";
import {
  SPECIAL_ROLES,
  addedTokens,
  additionalTokens,
  checkVocabulary,
  flag,
  isObject,
  readText,
  readTokenizerConfig,
  readTokenizerJson,
  requireTokens,
  specialToken,
  vocabularySize,
} from "./files.js";
import { checkFrame, encodeFramed, specialTokenSplitter } from "./framing.js";
import type { DescribedTokenizer } from "./types.js";

/** Words of more characters become one unknown token. */
const MAX_WORD_CHARACTERS = 100;
/** BLIP's decoder and encoder marks, appended to a vocabulary that lacks them: bert-base-uncased then has 30,524 entries. */
const BLIP_TOKENS = ["[DEC]", "[ENC]"] as const;

/** The tokens of each role unless the configuration names others; the roles without one are not BERT's. */
const ROLE_TOKENS = {
  unk_token: "[UNK]",
  sep_token: "[SEP]",
  pad_token: "[PAD]",
  cls_token: "[CLS]",
  mask_token: "[MASK]",
  bos_token: "",
  eos_token: "",
} as const;

/**
 * Opens a BERT tokenizer.
 *
 * @param path A `vocab.txt` or `tokenizer.json`, or a folder with one of them and perhaps `tokenizer_config.json`.
 * @param options.maxLength Length of an encoding; ImageReward's is 35.
 * @throws ModelError when a file is missing, is no tokenizer, or lacks a special token.
 */
export async function openBertTokenizer(path: string, options: { maxLength: number }): Promise<DescribedTokenizer> {
  const { vocabulary, settings: fileSettings, where, folder } = await readBertFiles(path);
  const config = await readTokenizerConfig(folder);
  const settings: JsonObject = { ...fileSettings, ...config.settings };
  for (const [token, id] of config.added) if (!vocabulary.has(token)) vocabulary.set(token, id);
  for (const token of BLIP_TOKENS) if (!vocabulary.has(token)) vocabulary.set(token, vocabularySize(vocabulary));

  const named = (role: keyof typeof ROLE_TOKENS) => specialToken(settings, role, ROLE_TOKENS[role]);
  const required = [named("cls_token"), named("sep_token"), named("pad_token"), named("unk_token")];
  const [start, end, pad, unknown] = requireTokens(vocabulary, required, where) as [number, number, number, number];
  const specials = [
    ...SPECIAL_ROLES.map(named),
    ...BLIP_TOKENS,
    ...config.added.keys(),
    ...additionalTokens(settings),
  ].filter((token) => vocabulary.has(token));
  const idsOf = (tokens: readonly string[]) => tokens.map((token) => [token, vocabulary.get(token) as number] as const);
  checkFrame({ start, end, pad, maxLength: options.maxLength }, where);
  return wordPieceTokenizer({
    kind: "word-piece",
    start,
    end,
    pad,
    unknown,
    maxLength: options.maxLength,
    vocabulary: Object.fromEntries(vocabulary),
    specials: Object.fromEntries(idsOf(specials)),
    text: readTextOptions(settings),
  });
}

/** The tokenizer of a description. */
export function wordPieceTokenizer(description: WordPieceDescription): DescribedTokenizer {
  const { unknown, maxLength, text: textOptions } = description;
  const vocabulary = new Map(Object.entries(description.vocabulary));
  const split = specialTokenSplitter(new Map(Object.entries(description.specials)));
  const tokenize = (text: string): number[] =>
    split(text).flatMap((piece) => {
      if (typeof piece !== "string") return [piece.id];
      // The reference lower-cases letter by letter first, so a final sigma gets no form of its own.
      const text = textOptions.lowerCase ? Array.from(piece, (letter) => letter.toLowerCase()).join("") : piece;
      return basicWords(text, textOptions).flatMap((word) => wordPieces(word, vocabulary) ?? [unknown]);
    });
  return {
    maxLength,
    vocabularySize: vocabularySize(vocabulary),
    encode: (text) => encodeFramed(text, tokenize, description),
    tokenize,
    description,
  };
}

function readTextOptions(settings: JsonObject): BasicTextOptions {
  const lowerCase = flag(settings, "do_lower_case", true);
  return {
    lowerCase,
    stripAccents: flag(settings, "strip_accents", undefined) ?? lowerCase,
    splitPunctuation: true,
    spaceIdeographs: flag(settings, "tokenize_chinese_chars", true),
  };
}

/** Greedy longest match from the left; undefined when some part of the word is in no piece. */
function wordPieces(word: string, vocabulary: ReadonlyMap<string, number>): number[] | undefined {
  const letters = Array.from(word);
  if (letters.length > MAX_WORD_CHARACTERS) return undefined;
  const ids: number[] = [];
  for (let start = 0; start < letters.length;) {
    let end = letters.length;
    let id: number | undefined;
    for (; end > start; end--) {
      const piece = letters.slice(start, end).join("");
      id = vocabulary.get(start > 0 ? `##${piece}` : piece);
      if (id !== undefined) break;
    }
    if (id === undefined) return undefined;
    ids.push(id);
    start = end;
  }
  return ids;
}

interface BertFiles {
  readonly vocabulary: Map<string, number>;
  readonly settings: JsonObject;
  readonly where: string;
  readonly folder: string;
}

async function readBertFiles(path: string): Promise<BertFiles> {
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  const folder = isFolder ? path : dirname(path);
  const isJson = !isFolder && basename(path).endsWith(".json");
  const textPath = isFolder ? join(path, "vocab.txt") : path;
  const text = isJson ? undefined : await readText(textPath);
  if (text !== undefined) {
    return { vocabulary: parseVocabularyText(text, textPath), settings: {}, where: textPath, folder };
  }
  const json =
    isFolder || isJson ? await readTokenizerJson(isJson ? path : join(path, "tokenizer.json"), "WordPiece") : undefined;
  if (json === undefined) {
    throw new ModelError(
      `${path}: expected ${isFolder ? "vocab.txt or tokenizer.json in it" : "a vocabulary"}, got no file`,
    );
  }
  const vocabulary = checkVocabulary(json.model["vocab"], json.where);
  for (const { content, id } of addedTokens(json)) vocabulary.set(content, id);
  const normalizer = isObject(json.root["normalizer"]) ? json.root["normalizer"] : {};
  const settings = {
    do_lower_case: normalizer["lowercase"],
    strip_accents: normalizer["strip_accents"],
    tokenize_chinese_chars: normalizer["handle_chinese_chars"],
  };
  return { vocabulary, settings, where: json.where, folder };
}

/** One token a line, its id the line's number from 0; of a token that stands twice, the later line counts, as in the reference. */
function parseVocabularyText(text: string, where: string): Map<string, number> {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  if (lines.at(-1) === "") lines.pop();
  if (lines.length === 0) throw new ModelError(`${where}: expected one token a line, got an empty file`);
  return new Map(lines.map((line, id) => [line, id]));
}
