/**
 * @file The text cleaning that BERT's and CLIP's reference tokenizers share (transformers v4.57.1, BasicTokenizer; CLIP uses it when
 * the optional Python package ftfy is absent).
 */

/** Characters that count as CJK ideographs, each a word of its own. Kana and Hangul do not. */
export const IDEOGRAPHS =
  "\u{4E00}-\u{9FFF}\u{3400}-\u{4DBF}\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B820}-\u{2CEAF}\u{F900}-\u{FAFF}\u{2F800}-\u{2FA1F}";

const IDEOGRAPH = new RegExp(`[${IDEOGRAPHS}]`, "gu");
const CONTROL = /(?![\t\n\r])\p{C}|\uFFFD/gu;
/** All ASCII that is neither letter, digit nor space counts as punctuation, whatever Unicode calls it. */
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/gu;

/** How a tokenizer's configuration wants text cleaned. */
export interface BasicTextOptions {
  readonly lowerCase: boolean;
  readonly stripAccents: boolean;
  readonly splitPunctuation: boolean;
  readonly spaceIdeographs: boolean;
}

/** Removes control characters, composes (NFC), splits at white space, and treats each word as the options say. */
export function basicWords(text: string, options: BasicTextOptions): string[] {
  let clean = text.replace(CONTROL, "");
  if (options.spaceIdeographs) clean = clean.replace(IDEOGRAPH, " $& ");
  const words = splitWhitespace(clean.normalize("NFC")).map((word) => {
    let treated = options.lowerCase ? word.toLowerCase() : word;
    if (options.stripAccents) treated = treated.normalize("NFD").replace(/\p{Mn}/gu, "");
    return options.splitPunctuation ? treated.replace(PUNCTUATION, " $& ") : treated;
  });
  return splitWhitespace(words.join(" "));
}

function splitWhitespace(text: string): string[] {
  return text.split(/\s+/u).filter((word) => word !== "");
}
