/** @file A tokenizer as data: all that decides its ids, to be written into a file and read elsewhere. */

import type { BasicTextOptions } from "./basic-text.js";

/** What both kinds of tokenizers have. */
interface Common {
  /** Ids around a text, and behind it up to `maxLength`. */
  readonly start: number;
  readonly end: number;
  readonly pad: number;
  /** Id of what is in no token. */
  readonly unknown: number;
  readonly maxLength: number;
  /** Ids by token. */
  readonly vocabulary: Readonly<Record<string, number>>;
  /** Tokens that are found in the text as it is, before anything is done to it. */
  readonly specials: Readonly<Record<string, number>>;
}

/** BERT's: words cut into the longest known pieces. */
export interface WordPieceDescription extends Common {
  readonly kind: "word-piece";
  readonly text: BasicTextOptions;
}

/** CLIP's: bytes of lower-cased words, merged by rank. */
export interface BytePairDescription extends Common {
  readonly kind: "byte-pair";
  /** How words are found: as `CLIPTokenizer` of transformers, or as `CLIPTokenizerFast`. */
  readonly words: "slow" | "fast";
  /** Two symbols each, `left right`; the earlier, the sooner merged. */
  readonly merges: readonly string[];
  /** Tokens that are found in normalized text; only for "fast". */
  readonly normalizedSpecials: Readonly<Record<string, number>>;
}

/** Either. */
export type TokenizerDescription = WordPieceDescription | BytePairDescription;
