/** @file CLIP's own vocabulary, which ships with Laurel: for checkpoints that come without their tokenizer. */

import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { readBytes } from "../util/read-file.js";
import { BYTE_SYMBOLS, WORD_END } from "./byte-pairs.js";
import { bytePairTokenizer } from "./clip.js";
import type { DescribedTokenizer } from "./types.js";

/** The merges of OpenAI's CLIP, from open_clip (MIT). */
const MERGES = fileURLToPath(new URL("../../assets/clip-vocabulary/merges.txt.gz", import.meta.url));
const START = "<|startoftext|>";
const END = "<|endoftext|>";
const LENGTH = 77;

/**
 * The tokenizer of CLIP ViT-L/14 and of OpenCLIP's models, id for id as the slow `CLIPTokenizer` of transformers with its published files.
 * @param pad the token behind a text; OpenCLIP's models were trained with "!". @default the end of text
 */
export async function openStandardClipTokenizer(pad: string = END): Promise<DescribedTokenizer> {
  const text = gunzipSync(await readBytes(MERGES, { expected: "CLIP's merges" })).toString("utf8");
  // the first line is a comment
  const merges = text.trimEnd().split("\n").slice(1);
  // bytes in the order of the characters that stand for them, the same at a word's end, then what each merge makes
  const symbols = [...BYTE_SYMBOLS].sort((a, b) => a.codePointAt(0)! - b.codePointAt(0)!);
  const words = [...symbols, ...symbols.map((symbol) => symbol + WORD_END), ...merges.map((pair) => pair.replace(" ", ""))]; // prettier-ignore
  const vocabulary = Object.fromEntries([...words, START, END].map((word, id) => [word, id]));
  const [start, end] = [vocabulary[START]!, vocabulary[END]!];
  return bytePairTokenizer({
    kind: "byte-pair",
    words: "slow",
    start,
    end,
    pad: vocabulary[pad] ?? end,
    unknown: end,
    maxLength: LENGTH,
    vocabulary,
    specials: { [START]: start, [END]: end },
    normalizedSpecials: {},
    merges,
  });
}
