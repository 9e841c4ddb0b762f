/** @file CLIP's tokenizer: lower-cased byte-pair encoding, id for id as transformers' (v4.57.1, without ftfy). */

import { join } from "node:path";
import { ModelError, UsageError } from "../errors.js";
import { bytePairEncoder } from "./byte-pairs.js";
import { checkClipJson, fastWords, normalizeFast, slowWords } from "./clip-words.js";
import type { BytePairDescription } from "./description.js";
import {
  addedTokens,
  additionalTokens,
  checkVocabulary,
  modelMaxLength,
  readJsonObject,
  readText,
  readTokenizerConfig,
  readTokenizerJson,
  requireTokens,
  specialToken,
  vocabularySize,
} from "./files.js";
import type { Piece } from "./framing.js";
import { checkFrame, encodeFramed, specialTokenSplitter } from "./framing.js";
import type { DescribedTokenizer } from "./types.js";

const START = "<|startoftext|>";
const END = "<|endoftext|>";
/** CLIP's own context length, for folders that name none. */
const DEFAULT_LENGTH = 77;
/** transformers reads this many merges at most, whatever the file holds. */
const MAX_MERGES = 49152 - 256 - 2;

interface ClipFiles {
  readonly vocabulary: Map<string, number>;
  /** Two symbols each, `left right`, in the order of their ranks. */
  readonly merges: readonly string[];
  readonly where: string;
  /** Of a `tokenizer.json`, the special tokens to be found in text as it is and once it is lower-cased. */
  readonly fast?: { readonly verbatim: readonly string[]; readonly normalized: readonly string[] };
}

/**
 * Opens a CLIP tokenizer: `vocab.json` and `merges.txt`, else `tokenizer.json`, with `tokenizer_config.json` and
 * `special_tokens_map.json` where present. The padding token is the configuration's (Stable Diffusion 2 pads with "!").
 * As in transformers the files decide whose ids these are: those of the slow `CLIPTokenizer`, which diffusers' pipelines load, or of
 * the fast one, which alone reads `tokenizer.json`. They differ in ideographs, invisible characters and final sigmas.
 *
 * @param options.maxLength Length of an encoding. @default the configuration's `model_max_length`, else 77
 * @throws ModelError when a file is missing, is no tokenizer, or lacks a special token.
 */
export async function openClipTokenizer(
  folder: string,
  options: { maxLength?: number } = {},
): Promise<DescribedTokenizer> {
  const { settings, added } = await readTokenizerConfig(folder);
  const { vocabulary, merges, where, fast } = await readClipFiles(folder);
  const names = {
    start: specialToken(settings, "bos_token", START),
    end: specialToken(settings, "eos_token", END),
    unknown: specialToken(settings, "unk_token", END),
    pad: specialToken(settings, "pad_token", END),
  };
  for (const [token, id] of added) if (!vocabulary.has(token)) vocabulary.set(token, id);
  const required = [names.start, names.end, names.unknown, names.pad];
  const [start, end, unknown, pad] = requireTokens(vocabulary, required, where) as [number, number, number, number];
  const named = [...required, ...added.keys(), ...additionalTokens(settings)].filter((token) => vocabulary.has(token));
  const verbatim = [...named, ...(fast?.verbatim ?? [])].filter((token) => fast?.normalized.includes(token) !== true);
  const maxLength = options.maxLength ?? modelMaxLength(settings) ?? DEFAULT_LENGTH;
  const as = options.maxLength === undefined ? ModelError : UsageError;
  checkFrame({ start, end, pad, maxLength }, where, as);
  const idsOf = (tokens: readonly string[]) =>
    Object.fromEntries(tokens.map((token) => [token, vocabulary.get(token) ?? unknown]));
  return bytePairTokenizer({
    kind: "byte-pair",
    words: fast === undefined ? "slow" : "fast",
    start,
    end,
    pad,
    unknown,
    maxLength,
    vocabulary: Object.fromEntries(vocabulary),
    specials: idsOf(verbatim),
    normalizedSpecials: idsOf(fast?.normalized ?? []),
    merges,
  });
}

/** The tokenizer of a description. */
export function bytePairTokenizer(description: BytePairDescription): DescribedTokenizer {
  const { unknown, maxLength } = description;
  const vocabulary = new Map(Object.entries(description.vocabulary));
  const idOf = (symbol: string) => vocabulary.get(symbol) ?? unknown;
  const split = specialTokenSplitter(new Map(Object.entries(description.specials)));
  const normalized = Object.entries(description.normalizedSpecials);
  const splitNormalized = specialTokenSplitter(new Map(normalized.map(([token, id]) => [normalizeFast(token), id])));
  const words =
    description.words === "slow"
      ? (text: string) =>
          slowWords(text).map((word): Piece => (word === START || word === END ? { id: idOf(word) } : word))
      : (text: string) =>
          splitNormalized(normalizeFast(text)).flatMap((piece): Piece[] =>
            typeof piece === "string" ? fastWords(piece) : [piece],
          );
  const encodeWord = bytePairEncoder(new Map(description.merges.map((pair, rank) => [pair, rank])));
  const tokenize = (text: string): number[] =>
    split(text)
      .flatMap((piece) => (typeof piece === "string" ? words(piece) : [piece]))
      .flatMap((word) => (typeof word === "string" ? encodeWord(word).map(idOf) : [word.id]));
  return {
    maxLength,
    vocabularySize: vocabularySize(vocabulary),
    encode: (text) => encodeFramed(text, tokenize, description),
    tokenize,
    description,
  };
}

async function readClipFiles(folder: string): Promise<ClipFiles> {
  const vocabularyPath = join(folder, "vocab.json");
  const mergesPath = join(folder, "merges.txt");
  const table = await readJsonObject(vocabularyPath);
  if (table !== undefined) {
    const merges = await readText(mergesPath);
    if (merges === undefined) throw new ModelError(`${mergesPath}: expected the merges beside vocab.json, got no file`);
    // The first line is a version comment, whatever it says.
    const lines = merges
      .trim()
      .split("\n")
      .slice(1, MAX_MERGES + 1);
    const pairs = checkMerges(
      lines.map((line) => line.trim().split(/\s+/)),
      mergesPath,
    );
    return { vocabulary: checkVocabulary(table, vocabularyPath), merges: pairs, where: vocabularyPath };
  }
  const json = await readTokenizerJson(join(folder, "tokenizer.json"), "BPE");
  if (json === undefined) {
    throw new ModelError(`${folder}: expected vocab.json and merges.txt, or tokenizer.json, got neither`);
  }
  checkClipJson(json);
  const { merges } = json.model;
  if (!Array.isArray(merges)) throw new ModelError(`${json.where}: expected a list of merges, got ${String(merges)}`);
  const pairs = (merges as readonly unknown[]).map((merge) => (typeof merge === "string" ? merge.split(" ") : merge));
  const vocabulary = checkVocabulary(json.model["vocab"], json.where);
  const verbatim: string[] = [];
  const normalized: string[] = [];
  for (const { content, id, isNormalized } of addedTokens(json)) {
    vocabulary.set(content, id);
    (isNormalized ? normalized : verbatim).push(content);
  }
  return { vocabulary, merges: checkMerges(pairs, json.where), where: json.where, fast: { verbatim, normalized } };
}

/** Ranks are line numbers; of a pair that stands twice, the later counts, as in the reference. */
function checkMerges(pairs: readonly unknown[], where: string): string[] {
  return pairs.map((pair, rank) => {
    if (Array.isArray(pair) && pair.length === 2) return `${String(pair[0])} ${String(pair[1])}`;
    throw new ModelError(`${where}: expected two symbols in merge ${rank + 1}, got ${JSON.stringify(pair)}`);
  });
}
