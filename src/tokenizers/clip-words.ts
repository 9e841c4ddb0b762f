/** @file How text becomes the words that CLIP's byte pairs are made of, in each of transformers' two tokenizers (v4.57.1). */

import { ModelError } from "../errors.js";
import { basicWords } from "./basic-text.js";
import { WORD_END } from "./byte-pairs.js";
import type { TokenizerJson } from "./files.js";
import { isObject } from "./files.js";

const SLOW_TEXT = { lowerCase: true, stripAccents: false, splitPunctuation: false, spaceIdeographs: true } as const;

/**
 * The slow tokenizer's pattern. It ignores case: on lower-cased text that only adds the long s, and takes U+0345, which folds to a
 * letter without being one, out of both classes.
 */
const SLOW_WORDS = /<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}\u0345]+/gu;
const FAST_WORDS = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu;

/** The words of `CLIPTokenizer`, where ftfy is absent: BERT's cleaning first. The special tokens in them are words of their own. */
export function slowWords(text: string): readonly string[] {
  return basicWords(text, SLOW_TEXT).join(" ").match(SLOW_WORDS) ?? [];
}

/** The normalizer of `CLIPTokenizerFast`: composed, white space made one space, each letter lower-cased by itself. */
export function normalizeFast(text: string): string {
  const spaced = text.normalize("NFC").replace(/\p{White_Space}+/gu, " ");
  return Array.from(spaced, (letter) => letter.toLowerCase()).join("");
}

/** The words of `CLIPTokenizerFast` in normalized text without special tokens. */
export function fastWords(normalized: string): string[] {
  return normalized.match(FAST_WORDS) ?? [];
}

const NORMALIZERS = "NFC, Replace, Lowercase";
const PATTERN = "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
/** Later files repeat the special tokens, which are found before. */
const PATTERNS: readonly unknown[] = [PATTERN, `<\\|startoftext\\|>|<\\|endoftext\\|>|${PATTERN}`];

/** @throws ModelError when a `tokenizer.json` with byte pairs says that text is cut otherwise than CLIP's. */
export function checkClipJson({ root, model, where }: TokenizerJson): void {
  const check = (what: string, isExpected: boolean, actual: unknown): void => {
    if (isExpected) return;
    throw new ModelError(`${where}: expected ${what}, got ${typeof actual === "string" ? actual : "none"}`);
  };
  const normalizers = types(root["normalizer"]).join(", ");
  check(`CLIP's normalizer ${NORMALIZERS}`, normalizers === NORMALIZERS, normalizers === "" ? undefined : normalizers);
  const steps = isObject(root["pre_tokenizer"]) ? root["pre_tokenizer"]["pretokenizers"] : undefined;
  const split: unknown = Array.isArray(steps) ? steps[0] : undefined;
  const pattern = isObject(split) && isObject(split["pattern"]) ? split["pattern"]["Regex"] : undefined;
  check(`CLIP's pattern ${PATTERN}`, PATTERNS.includes(pattern), pattern);
  const suffix = model["end_of_word_suffix"];
  check(`"${WORD_END}" as end_of_word_suffix`, suffix === WORD_END, JSON.stringify(suffix));
}

/** The types of a sequence of normalizers, or of the one there is. */
function types(step: unknown): string[] {
  if (!isObject(step)) return [];
  const steps = step["normalizers"];
  return Array.isArray(steps) ? steps.flatMap(types) : [String(step["type"])];
}
