/** @file CLIP's tokenizer: lower-cased byte-pair encoding, id for id as transformers' `CLIPTokenizer` (v4.57.1, without ftfy). */

import { join } from "node:path";
import { ModelError } from "../errors.js";
import { basicWords } from "./basic-text.js";
import type { MergeRanks } from "./byte-pairs.js";
import { bytePairEncoder } from "./byte-pairs.js";
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
import { checkFrame, encodeFramed, specialTokenSplitter } from "./framing.js";
import type { ClipTokenizer } from "./types.js";

const START = "<|startoftext|>";
const END = "<|endoftext|>";
/** CLIP's own context length, for folders that name none. */
const DEFAULT_LENGTH = 77;
/** transformers reads this many merges at most, whatever the file holds. */
const MAX_MERGES = 49152 - 256 - 2;

const TEXT = { lowerCase: true, stripAccents: false, splitPunctuation: false, spaceIdeographs: true } as const;

/**
 * The reference's pattern. It ignores case: on lower-cased text that only adds the long s, and takes U+0345, which folds to a letter
 * without being one, out of both classes.
 */
const WORDS = /<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u0345]+/gu;

interface ClipFiles {
  readonly vocabulary: Map<string, number>;
  readonly ranks: MergeRanks;
  readonly where: string;
}

/**
 * Opens a CLIP tokenizer: `vocab.json` and `merges.txt`, or `tokenizer.json`, with `tokenizer_config.json` and
 * `special_tokens_map.json` where present. The padding token is the configuration's (Stable Diffusion 2 pads with "!").
 *
 * @param options.maxLength Length of an encoding. @default the configuration's `model_max_length`, else 77
 * @throws ModelError when a file is missing, is no tokenizer, or lacks a special token.
 */
export async function openClipTokenizer(folder: string, options: { maxLength?: number } = {}): Promise<ClipTokenizer> {
  const { settings, added } = await readTokenizerConfig(folder);
  const { vocabulary, ranks, where } = await readClipFiles(folder);
  const names = {
    start: specialToken(settings, "bos_token", START),
    end: specialToken(settings, "eos_token", END),
    unknown: specialToken(settings, "unk_token", END),
    pad: specialToken(settings, "pad_token", END),
  };
  for (const [token, id] of added) if (!vocabulary.has(token)) vocabulary.set(token, id);
  const required = [names.start, names.end, names.unknown, names.pad];
  const [start, end, unknown, pad] = requireTokens(vocabulary, required, where) as [number, number, number, number];
  const specials = [...required, ...added.keys(), ...additionalTokens(settings)].filter((token) =>
    vocabulary.has(token),
  );
  const split = specialTokenSplitter(new Map(specials.map((token) => [token, vocabulary.get(token) as number])));
  const encodeWord = bytePairEncoder(ranks);

  const tokenize = (text: string): number[] =>
    split(text).flatMap((piece) => {
      if (typeof piece !== "string") return [piece.id];
      const words = basicWords(piece, TEXT).join(" ").match(WORDS) ?? [];
      return words.flatMap((word) => {
        const symbols = word === START || word === END ? [word] : encodeWord(word);
        return symbols.map((symbol) => vocabulary.get(symbol) ?? unknown);
      });
    });

  const maxLength = options.maxLength ?? modelMaxLength(settings) ?? DEFAULT_LENGTH;
  const frame = checkFrame({ start, end, pad, maxLength }, where);
  return {
    maxLength,
    vocabularySize: vocabularySize(vocabulary),
    encode: (text) => encodeFramed(text, tokenize, frame),
    tokenize,
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
    const ranks = rankMerges(
      lines.map((line) => line.trim().split(/\s+/)),
      mergesPath,
    );
    return { vocabulary: checkVocabulary(table, vocabularyPath), ranks, where: vocabularyPath };
  }
  const json = await readTokenizerJson(join(folder, "tokenizer.json"), "BPE");
  if (json === undefined) {
    throw new ModelError(`${folder}: expected vocab.json and merges.txt, or tokenizer.json, got neither`);
  }
  const { merges } = json.model;
  if (!Array.isArray(merges)) throw new ModelError(`${json.where}: expected a list of merges, got ${String(merges)}`);
  const pairs = (merges as readonly unknown[]).map((merge) => (typeof merge === "string" ? merge.split(" ") : merge));
  const vocabulary = checkVocabulary(json.model["vocab"], json.where);
  for (const [token, id] of addedTokens(json)) vocabulary.set(token, id);
  return { vocabulary, ranks: rankMerges(pairs, json.where), where: json.where };
}

/** Ranks are line numbers; of a pair that stands twice, the later counts, as in the reference. */
function rankMerges(pairs: readonly unknown[], where: string): MergeRanks {
  const ranks = new Map<string, number>();
  for (const [rank, pair] of pairs.entries()) {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw new ModelError(`${where}: expected two symbols in merge ${rank + 1}, got ${JSON.stringify(pair)}`);
    }
    ranks.set(`${String(pair[0])} ${String(pair[1])}`, rank);
  }
  return ranks;
}
