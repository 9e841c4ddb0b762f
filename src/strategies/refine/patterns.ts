/** @file Patterns over words, as vocabularies write them: `{thing:b} with|and? {thing:a} {place:r}`. No regular expressions, bounded work. */

import { token, type Token, tokenize } from "./words.js";

/** One place of a pattern. */
export type Element =
  | { readonly kind: "literal"; readonly keys: readonly string[]; readonly optional: boolean }
  | { readonly kind: "list"; readonly list: string; readonly label: string; readonly optional: boolean }
  | { readonly kind: "phrase"; readonly phrase: string; readonly label: string; readonly optional: boolean }
  | { readonly kind: "any"; readonly label: string; readonly optional: boolean };

/** Phrases that mean the same, the plain one first. */
export type Group = readonly (readonly Token[])[];

/** What the names in patterns stand for. */
export interface Names {
  readonly lists: ReadonlyMap<string, readonly Group[]>;
  /** Each by its patterns, tried in their order. */
  readonly phrases: ReadonlyMap<string, readonly (readonly Element[])[]>;
}

/** Where a pattern matches, and what its names stand for there. */
export interface Match {
  readonly start: number;
  readonly end: number;
  readonly values: ReadonlyMap<string, readonly Token[]>;
}

/** Longest stretch that `{...}` stands for. */
const LONGEST_ANY = 40;
/** Steps that one search may take; a pattern that needs more does not match. */
const MAXIMUM_STEPS = 20_000;

const SLOT = /^\{([a-z][\w-]*|\.\.\.)(?::([a-z][\w-]*))?\}(\?)?$/iu;

/**
 * Parses a pattern: words, `this|that`, `{list}`, `{phrase}` or `{...}` (any words but commas), each perhaps with a label (`{colour:c}`) and `?`
 * for what may be missing.
 * @throws RangeError saying what is wrong
 */
export function parsePattern(text: string, lists: ReadonlySet<string>, phrases: ReadonlySet<string>): Element[] {
  const elements = text.split(/\s+/u).flatMap((piece): Element[] => {
    if (piece === "") return [];
    if (!piece.startsWith("{")) {
      const optional = piece.endsWith("?") && piece.length > 1;
      const words = (optional ? piece.slice(0, -1) : piece).split("|");
      const keys = words.map((word) => {
        const [only, ...more] = tokenize(word);
        if (only === undefined || more.length > 0) throw new RangeError(`expected words, got ${JSON.stringify(piece)}`);
        return only.key;
      });
      return [{ kind: "literal", keys, optional }];
    }
    const [, name, label, question] = SLOT.exec(piece) ?? [];
    if (name === undefined)
      throw new RangeError(`expected {name}, {name:label} or {...:label}, got ${JSON.stringify(piece)}`);
    const optional = question !== undefined;
    if (name === "...") return [{ kind: "any", label: label ?? "...", optional }];
    if (lists.has(name)) return [{ kind: "list", list: name, label: label ?? name, optional }];
    if (phrases.has(name)) return [{ kind: "phrase", phrase: name, label: label ?? name, optional }];
    throw new RangeError(`expected one of ${[...lists, ...phrases].join(", ")} in braces, got ${name}`);
  });
  if (elements.every(({ optional }) => optional))
    throw new RangeError("expected something that must be there, got nothing");
  return elements;
}

/** The first place where `pattern` matches, from the left; its slots take as much as they can. */
export function findMatch(pattern: readonly Element[], tokens: readonly Token[], names: Names): Match | undefined {
  const work = { left: MAXIMUM_STEPS };
  for (let start = 0; start < tokens.length; start++) {
    for (const { end, values } of matches(pattern, 0, tokens, start, names, new Map(), work)) {
      if (end > start) return { start, end, values };
    }
    if (work.left <= 0) return undefined;
  }
  return undefined;
}

interface Partial {
  readonly end: number;
  readonly values: ReadonlyMap<string, readonly Token[]>;
}

function* matches(
  pattern: readonly Element[],
  element: number,
  tokens: readonly Token[],
  at: number,
  names: Names,
  values: ReadonlyMap<string, readonly Token[]>,
  work: { left: number },
): Generator<Partial, void> {
  if (work.left-- <= 0) return;
  const one = pattern[element];
  if (one === undefined) {
    yield { end: at, values };
    return;
  }
  // what may be missing is taken where it stands: a pattern never matches by leaving out what is there
  let stands = false;
  for (const { end, value } of endings(one, tokens, at, names, work)) {
    stands = true;
    const known = one.kind === "literal" ? values : new Map(values).set(one.label, value);
    yield* matches(pattern, element + 1, tokens, end, names, known, work);
  }
  if (one.optional && !stands) yield* matches(pattern, element + 1, tokens, at, names, values, work);
}

/** Ways to match one element at `at`, the longest first. */
function* endings(
  one: Element,
  tokens: readonly Token[],
  at: number,
  names: Names,
  work: { left: number },
): Generator<{ readonly end: number; readonly value: readonly Token[] }, void> {
  switch (one.kind) {
    case "literal": {
      const here = tokens[at];
      if (here !== undefined && one.keys.includes(here.key)) yield { end: at + 1, value: [here] };
      return;
    }
    case "list": {
      const found = longestIn(names.lists.get(one.list) ?? [], tokens, at);
      if (found !== undefined) yield { end: at + found.length, value: found.plain };
      return;
    }
    case "phrase":
      for (const pattern of names.phrases.get(one.phrase) ?? []) {
        for (const { end } of matches(pattern, 0, tokens, at, names, new Map(), work)) {
          yield { end, value: tokens.slice(at, end) };
        }
      }
      return;
    case "any": {
      let end = at;
      while (end < tokens.length && end - at < LONGEST_ANY && tokens[end]!.text !== ",") end++;
      for (; end > at; end--) yield { end, value: tokens.slice(at, end) };
      return;
    }
    default:
      one satisfies never;
  }
}

/** The longest phrase of `groups` that stands at `at`, with the plain one of its group. */
export function longestIn(
  groups: readonly Group[],
  tokens: readonly Token[],
  at: number,
): { readonly length: number; readonly plain: readonly Token[]; readonly group: Group } | undefined {
  let found: { length: number; plain: readonly Token[]; group: Group } | undefined;
  for (const group of groups) {
    for (const phrase of group) {
      if (phrase.length <= (found?.length ?? 0)) continue;
      if (!phrase.every(({ key }, i) => tokens[at + i]?.key === key)) continue;
      found = { length: phrase.length, plain: group[0] ?? phrase, group };
    }
  }
  return found;
}

/** One place of what a pattern is rewritten to: words, or what a name stands for. */
export type Output =
  { readonly kind: "words"; readonly tokens: readonly Token[] } | { readonly kind: "value"; readonly label: string };

/** Parses what a pattern is rewritten to: words and `{label}`. @throws RangeError for a label that the pattern does not have */
export function parseOutput(text: string, pattern: readonly Element[]): Output[] {
  const labels = new Set(pattern.flatMap((one) => (one.kind === "literal" ? [] : [one.label])));
  return text.split(/\s+/u).flatMap((piece): Output[] => {
    if (piece === "") return [];
    if (!piece.startsWith("{")) return [{ kind: "words", tokens: tokenize(piece) }];
    const label = piece.slice(1, -1);
    if (piece.endsWith("}") && labels.has(label)) return [{ kind: "value", label }];
    throw new RangeError(`expected one of ${[...labels].map((one) => `{${one}}`).join(", ")}, got ${piece}`);
  });
}

/** What a match is rewritten to. */
export function write(output: readonly Output[], { values }: Match): Token[] {
  return output
    .flatMap((piece) => (piece.kind === "words" ? piece.tokens : (values.get(piece.label) ?? [])))
    .map(({ text }) => token(text));
}
