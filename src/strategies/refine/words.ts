/** @file A prompt as words and marks: taken apart, put together again, tidied up. */

/** A word, a number or a single mark. */
export interface Token {
  readonly text: string;
  /** Lower case, for comparing. */
  readonly key: string;
  /** Whether white space stood before it. */
  readonly spaced: boolean;
}

/** A prompt of more words is not edited: nothing reads that many. */
export const MAXIMUM_WORDS = 300;

const PIECES = /(\s*)([\p{L}\p{N}]+(?:['’.-][\p{L}\p{N}]+)*|[^\s\p{L}\p{N}])/gu;
/** Marks that stand right after a word. */
const CLOSING = /^[,.;:!?)\]}]$/u;
/** Marks that stand between what they separate. */
const SEPARATING = /^[,.;:]$/u;
const WORD = /[\p{L}\p{N}]/u;

/** The words and marks of `text`. */
export function tokenize(text: string): Token[] {
  return [...text.matchAll(PIECES)].map(([, space = "", piece = ""]) => token(piece, space !== ""));
}

/** A token. */
export function token(text: string, spaced = !CLOSING.test(text)): Token {
  return { text, key: text.toLowerCase(), spaced };
}

/** True for words and numbers. */
export function isWord({ text }: Token): boolean {
  return WORD.test(text);
}

/** The text that `tokens` are, without space at its ends. */
export function print(tokens: readonly Token[]): string {
  return tokens
    .map(({ text, spaced }) => (spaced ? ` ${text}` : text))
    .join("")
    .trim();
}

/** `tokens` with `[start, end)` replaced; the replacement stands apart as what it replaces did. */
export function splice(tokens: readonly Token[], start: number, end: number, by: readonly Token[]): Token[] {
  const rest = tokens.slice(end);
  const first = by[0];
  const spaced = tokens[start]?.spaced ?? true;
  const inserted = first === undefined ? [] : [{ ...first, spaced }, ...by.slice(1)];
  const follower = rest[0];
  // what followed keeps its own space; a word that now follows what came before needs one
  if (first === undefined && follower !== undefined && isWord(follower)) rest[0] = { ...follower, spaced: true };
  return [...tokens.slice(0, start), ...inserted, ...rest];
}

/** Clauses: stretches between commas and other ends, as `[start, end)`. */
export function clauses(tokens: readonly Token[]): (readonly [start: number, end: number])[] {
  const found: (readonly [number, number])[] = [];
  let start = 0;
  for (let i = 0; i <= tokens.length; i++) {
    if (i < tokens.length && !/^[,.;!?]$/u.test(tokens[i]!.text)) continue;
    if (i > start) found.push([start, i]);
    start = i + 1;
  }
  return found;
}

/** Takes away marks that separate nothing and articles twice, and makes "a" and "an" fit the next word. */
export function tidy(tokens: readonly Token[]): Token[] {
  const kept: Token[] = [];
  for (const one of tokens) {
    const last = kept.at(-1);
    if (SEPARATING.test(one.text) && (last === undefined || last.text === ",")) continue;
    if (last !== undefined && isArticle(last) && isArticle(one)) kept.pop();
    kept.push(one);
  }
  while (/^[,;:]$/u.test(kept.at(-1)?.text ?? "")) kept.pop();
  return kept.map((one, i) => {
    const next = kept[i + 1];
    if (!isArticle(one) || next === undefined || !isWord(next)) return one;
    const fitting = /^[aeiou]/u.test(next.key) ? "an" : "a";
    return one.key === fitting
      ? one
      : { ...one, text: one.text === one.key ? fitting : capital(fitting), key: fitting };
  });
}

function isArticle({ key }: Token): boolean {
  return key === "a" || key === "an";
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
