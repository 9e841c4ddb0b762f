/** @file What a tokenizer gives: ids of a fixed length, and what did not fit. */

import type { TokenizerDescription } from "./description.js";

/** A prompt as token ids. */
export interface Encoding {
  /** Start token, text, end token, then padding: always the tokenizer's `maxLength` of them. */
  readonly ids: number[];
  /** 1 for start, text and end, 0 for padding. */
  readonly mask: number[];
  /** Where the first end token stands in `ids`. */
  readonly eosIndex: number;
  /** The end of the prompt that was cut, from its first word that is not fully kept; absent when all fits. */
  readonly truncated?: string;
}

/** Text to token ids, as one of the reference's tokenizers does. */
export interface Tokenizer {
  /** Length of every encoding. */
  readonly maxLength: number;
  /** The largest id plus one: how many rows the network's token embedding needs. */
  readonly vocabularySize: number;
  /** Encodes a prompt of any length. */
  encode(text: string): Encoding;
  /** The text's own ids, without start and end, uncut. */
  tokenize(text: string): number[];
}

/** A tokenizer that can be written down. */
export interface DescribedTokenizer extends Tokenizer {
  readonly description: TokenizerDescription;
}

/** CLIP's byte-pair tokenizer, as Stable Diffusion's text encoders use it. */
export type ClipTokenizer = Tokenizer;

/** BERT's WordPiece tokenizer, as ImageReward uses it. */
export type BertTokenizer = Tokenizer;
