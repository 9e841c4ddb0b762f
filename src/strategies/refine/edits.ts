/** @file Edits of a prompt: other words, less words, another order, more words, emphasis. Each says in words what it does. */

import type { PromptSyntax } from "../../prompts/attention-syntax.js";
import { findMatch, type Group, longestIn, write } from "./patterns.js";
import type { Vocabulary } from "./vocabulary.js";
import { clauses, isWord, MAXIMUM_WORDS, print, splice, tidy, type Token, token, tokenize } from "./words.js";

/** What an edit does, which its label begins with. */
export const EDIT_KINDS = ["order", "drop", "word", "clause", "add", "stress", "variant"] as const;
export type EditKind = (typeof EDIT_KINDS)[number];

/** One change. */
export interface Edit {
  readonly kind: EditKind;
  /** `word: scarlet -> red`; no two edits of a prompt have the same. */
  readonly label: string;
  /** The prompt with the change. */
  readonly prompt: string;
}

/** Weight that emphasis gives. */
const STRESS = 1.3;
/** Changes that one simplification makes, at most. */
const MAXIMUM_CHANGES = 40;

/** Every single edit of `prompt`; none of a prompt that is too long. In an order that depends on the prompt and the vocabulary alone. */
export function editsOf(prompt: string, vocabulary: Vocabulary, syntax: PromptSyntax): Edit[] {
  const tokens = tokenize(prompt);
  if (tokens.length > MAXIMUM_WORDS) return [];
  const found = new Map<string, Edit>();
  const offer = (kind: EditKind, what: string, changed: readonly Token[]): void => {
    const edited = print(tidy(changed));
    const label = `${kind}: ${what}`;
    if (edited === "" || edited === prompt || found.has(label) || !isBalanced(edited, syntax)) return;
    found.set(label, { kind, label, prompt: edited });
  };
  rewriteOnce(tokens, vocabulary, offer);
  dropOnce(tokens, vocabulary, offer);
  plainWords(tokens, vocabulary, offer);
  moveClauses(tokens, offer);
  for (const modifier of vocabulary.modifiers) {
    const words = tokenize(modifier);
    if (!contains(tokens, words)) offer("add", modifier, [...tokens, token(","), ...words.map(apart)]);
  }
  otherWords(tokens, vocabulary, offer);
  if (syntax === "a1111") stress(tokens, vocabulary, offer);
  return [...found.values()];
}

/** Kinds of edits that only simplify: they leave the meaning, as far as the vocabulary knows it. */
const SIMPLIFYING: readonly EditKind[] = ["drop", "word", "order"];

/** A prompt after simplifying edits of some kinds, made one after the other until none is left. */
export function simplify(
  prompt: string,
  vocabulary: Vocabulary,
  syntax: PromptSyntax,
  kinds: readonly EditKind[] = SIMPLIFYING,
): { readonly prompt: string; readonly labels: readonly string[] } {
  const labels: string[] = [];
  const seen = new Set([prompt]);
  let current = prompt;
  while (labels.length < MAXIMUM_CHANGES) {
    const edits = editsOf(current, vocabulary, syntax);
    // dropping comes first, so that patterns meet the words they know
    const next = kinds
      .flatMap((kind) => edits.filter((edit) => edit.kind === kind))
      .find((edit) => !seen.has(edit.prompt));
    if (next === undefined) break;
    labels.push(next.label);
    current = next.prompt;
    seen.add(current);
  }
  return { prompt: current, labels };
}

type Offer = (kind: EditKind, what: string, changed: readonly Token[]) => void;

function rewriteOnce(tokens: readonly Token[], { rewrites, names }: Vocabulary, offer: Offer): void {
  for (const { from, to } of rewrites) {
    const match = findMatch(from, tokens, names);
    if (match === undefined) continue;
    const written = write(to, match);
    const before = tokens.slice(match.start, match.end);
    if (sameWords(before, written)) continue;
    offer("order", `${print(before)} -> ${print(written)}`, splice(tokens, match.start, match.end, written));
  }
}

function dropOnce(tokens: readonly Token[], vocabulary: Vocabulary, offer: Offer): void {
  const drop = (start: number, end: number): void =>
    offer("drop", print(tokens.slice(start, end)), splice(tokens, start, end, []));
  for (let at = 0; at < tokens.length; at++) {
    const filler = longestIn(vocabulary.fillers, tokens, at);
    if (filler !== undefined) drop(at, at + filler.length);
  }
  if (!vocabulary.closed) return;
  const known = cover(tokens, vocabulary.known);
  if (!known.includes(true)) return;
  for (let start = 0; start < tokens.length; start++) {
    if (known[start] === true || !isWord(tokens[start]!)) continue;
    let end = start + 1;
    while (end < tokens.length && known[end] === false && isWord(tokens[end]!)) end++;
    drop(start, end);
    start = end;
  }
}

/** Which tokens are part of a known phrase, the longest taken from the left. */
function cover(tokens: readonly Token[], groups: readonly Group[]): boolean[] {
  const known = tokens.map(() => false);
  for (let at = 0; at < tokens.length;) {
    const length = longestIn(groups, tokens, at)?.length ?? 0;
    known.fill(true, at, at + length);
    at += Math.max(1, length);
  }
  return known;
}

function plainWords(tokens: readonly Token[], { synonyms }: Vocabulary, offer: Offer): void {
  eachPhrase(tokens, synonyms, (at, length, group) => {
    const before = tokens.slice(at, at + length);
    const plain = group[0]!;
    if (sameWords(before, plain)) return;
    offer("word", `${print(before)} -> ${print(plain)}`, splice(tokens, at, at + length, plain.map(apart)));
  });
}

function otherWords(tokens: readonly Token[], { synonyms }: Vocabulary, offer: Offer): void {
  eachPhrase(tokens, synonyms, (at, length, group) => {
    const before = tokens.slice(at, at + length);
    for (const other of group.slice(1)) {
      if (sameWords(before, other)) continue;
      offer("variant", `${print(before)} -> ${print(other)}`, splice(tokens, at, at + length, other.map(apart)));
    }
  });
}

function moveClauses(tokens: readonly Token[], offer: Offer): void {
  const found = clauses(tokens);
  if (found.length < 2) return;
  for (const [i, [start, end]] of found.entries()) {
    const clause = tokens.slice(start, end);
    const others = found.flatMap(([from, to], j) => (j === i ? [] : [tokens.slice(from, to)]));
    const what = print(clause);
    if (i > 0) offer("clause", `${what} first`, joined([clause, ...others]));
    if (i < found.length - 1) offer("clause", `${what} last`, joined([...others, clause]));
    offer("clause", `without ${what}`, joined(others));
  }
}

function stress(tokens: readonly Token[], { synonyms, closed }: Vocabulary, offer: Offer): void {
  const wrap = (at: number, length: number): void => {
    const inner = tokens.slice(at, at + length);
    const bracketed = `(${print(inner)}:${STRESS})`;
    const by = { text: bracketed, key: bracketed.toLowerCase(), spaced: true };
    offer("stress", print(inner), splice(tokens, at, at + length, [by]));
  };
  if (tokens.some(({ text }) => text === "(" || text === "[")) return;
  eachPhrase(tokens, synonyms, wrap);
  if (!closed) for (const [start, end] of clauses(tokens)) wrap(start, end - start);
}

function eachPhrase(
  tokens: readonly Token[],
  groups: readonly Group[],
  visit: (at: number, length: number, group: Group) => void,
): void {
  for (let at = 0; at < tokens.length;) {
    const found = longestIn(groups, tokens, at);
    if (found !== undefined) visit(at, found.length, found.group);
    at += found?.length ?? 1;
  }
}

function joined(parts: readonly (readonly Token[])[]): Token[] {
  return parts.flatMap((part, i) => [
    ...(i === 0 ? [] : [token(",")]),
    ...part.map((one, j) => (j === 0 ? apart(one) : one)),
  ]);
}

function apart(one: Token): Token {
  return { ...one, spaced: true };
}

function sameWords(a: readonly Token[], b: readonly Token[]): boolean {
  return a.length === b.length && a.every(({ key }, i) => key === b[i]?.key);
}

function contains(tokens: readonly Token[], words: readonly Token[]): boolean {
  return tokens.some((_, at) => words.every(({ key }, i) => tokens[at + i]?.key === key));
}

/** A prompt that is read with brackets must have them in pairs; an edit can tear one apart. */
function isBalanced(prompt: string, syntax: PromptSyntax): boolean {
  if (syntax === "plain") return true;
  const open: string[] = [];
  for (const [one] of prompt.replace(/\\./gsu, "").matchAll(/[()[\]]/gu)) {
    if (one === "(" || one === "[") open.push(one);
    else if (open.pop() !== (one === ")" ? "(" : "[")) return false;
  }
  return open.length === 0;
}
