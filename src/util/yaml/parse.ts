/** @file YAML text to located values, within bounds that no honest document reaches: what is hostile is refused soon. */

import {
  Composer,
  CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type ParsedNode,
} from "yaml";
import { UsageError } from "../../errors.js";
import { readText } from "../read-file.js";
import { DocumentError, type Fault, type Located, type LocatedEntry, type Place } from "./located.js";

/** Largest document, in bytes; lists of prompts are files of their own. */
const MAXIMUM_BYTES = 2 << 20;
/** Words, marks and line breaks a document may have: the library takes some 10 µs for each. */
const MAXIMUM_LEXEMES = 300_000;
/** Values a document may hold once its aliases are spelled out. */
export const MAXIMUM_VALUES = 200_000;
/** Levels of lists and mappings. Code that walks deeper ones by recursion would overflow the stack. */
const MAXIMUM_DEPTH = 64;

/** Reads a YAML file. @throws UsageError when it cannot be read, DocumentError when it is no YAML of this kind */
export async function readLocated(path: string): Promise<Located> {
  const options = { expected: "a YAML file", limit: MAXIMUM_BYTES, as: UsageError };
  return parseLocated(await readText(path, options), path);
}

/**
 * Parses one YAML document (1.2, core schema). Aliases are spelled out.
 * @param file what its places name
 * @throws DocumentError
 */
export function parseLocated(text: string, file: string): Located {
  const counter = new LineCounter();
  const place = (offset: number): Place => {
    const { line, col } = counter.linePos(offset);
    return { file, line, column: col };
  };
  const fail = (offset: number, message: string): never => {
    throw new DocumentError([{ place: place(offset), message }]);
  };
  const tokens = tokensOf(text, counter, fail);
  const [document, second] = new Composer({ strict: true, uniqueKeys: false, version: "1.2" }).compose(tokens);
  if (document === undefined) return fail(0, "expected a YAML document, got an empty file");
  const faults: Fault[] = [...document.errors, ...document.warnings].map(({ pos, message }) => ({
    place: place(pos[0]),
    message,
  }));
  if (second !== undefined)
    faults.push({ place: place(second.range[0]), message: "expected one document, got a second" });
  if (faults.length > 0) throw new DocumentError(faults);
  return new Converter(document, place).convert();
}

/** The parts of the text, not nested deeper than can be walked. */
function tokensOf(
  text: string,
  counter: LineCounter,
  fail: (offset: number, message: string) => never,
): readonly CST.Token[] {
  const parser = new Parser(counter.addNewLine);
  counter.addNewLine(0);
  const tokens: CST.Token[] = [];
  let lexemes = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (++lexemes > MAXIMUM_LEXEMES)
      fail(parser.offset, `expected at most ${MAXIMUM_LEXEMES} words and marks, got more`);
    tokens.push(...parser.next(lexeme));
  }
  tokens.push(...parser.end());
  const open: [token: CST.Token, depth: number][] = tokens.map((token) => [token, 0]);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [token, depth] = next;
    if (depth > MAXIMUM_DEPTH) fail(token.offset, `expected at most ${MAXIMUM_DEPTH} levels, got more`);
    if (token.type === "document" && token.value !== undefined) open.push([token.value, depth]);
    if (!CST.isCollection(token)) continue;
    for (const { key, value } of token.items) {
      if (key !== null && key !== undefined) open.push([key, depth + 1]);
      if (value !== undefined) open.push([value, depth + 1]);
    }
  }
  return tokens;
}

/** The library's nodes to located values. */
class Converter {
  readonly #document: Document.Parsed;
  readonly #place: (offset: number) => Place;
  readonly #faults: Fault[] = [];
  /** What an alias stands for here: the nearest anchor of its name before it. */
  readonly #anchors = new Map<string, ParsedNode>();
  /** Names of the aliases that are being spelled out. */
  readonly #expanding: string[] = [];
  #values = 0;

  constructor(document: Document.Parsed, place: (offset: number) => Place) {
    this.#document = document;
    this.#place = place;
  }

  /** @throws DocumentError with all faults */
  convert(): Located {
    const result = this.#convert(this.#document.contents, this.#document.range[0], 0);
    if (this.#faults.length > 0) throw new DocumentError(this.#faults);
    return result;
  }

  /** @param offset where a value that is left out would stand */
  #convert(node: ParsedNode | null, offset: number, depth: number): Located {
    const start = node?.range[0] ?? offset;
    const place = this.#place(start);
    if (++this.#values > MAXIMUM_VALUES)
      this.#fail(start, `expected at most ${MAXIMUM_VALUES} values, aliases spelled out, got more`);
    if (depth > MAXIMUM_DEPTH) this.#fail(start, `expected at most ${MAXIMUM_DEPTH} levels, got more`);
    if (node === null) return { kind: "scalar", place, value: null };
    if (isAlias(node)) return this.#spellOut(node.source, start, depth);
    if (node.anchor !== undefined && this.#expanding.length === 0) this.#anchors.set(node.anchor, node);
    if (isSeq(node))
      return { kind: "list", place, items: node.items.map((item) => this.#convert(item, start, depth + 1)) };
    if (isMap(node)) return { kind: "map", place, entries: this.#entries(node.items, start, depth) };
    const { value } = node;
    const known = value === null || typeof value === "string" || typeof value === "boolean" || Number.isFinite(value);
    if (known) return { kind: "scalar", place, value: value as string | number | boolean | null };
    this.#faults.push({ place, message: `expected text, a finite number, true, false or null, got ${String(value)}` });
    return { kind: "scalar", place, value: null };
  }

  #entries(
    pairs: readonly { readonly key: ParsedNode; readonly value: ParsedNode | null }[],
    start: number,
    depth: number,
  ): ReadonlyMap<string, LocatedEntry> {
    const entries = new Map<string, LocatedEntry>();
    for (const { key, value } of pairs) {
      const offset = (key as ParsedNode | null)?.range[0] ?? start;
      const place = this.#place(offset);
      if (!isScalar(key) || typeof key.value === "object") {
        this.#faults.push({ place, message: "expected a key that is one word or text" });
        continue;
      }
      const name = String(key.value);
      if (name === "__proto__") this.#faults.push({ place, message: "expected another key than __proto__" });
      if (entries.has(name)) this.#faults.push({ place, message: `expected each key once, got ${name} again` });
      entries.set(name, { key: place, value: this.#convert(value, key.range[1], depth + 1) });
    }
    return entries;
  }

  #spellOut(name: string, start: number, depth: number): Located {
    const node = this.#anchors.get(name);
    if (node === undefined) return this.#fail(start, `expected an anchor &${name} before the alias *${name}, got none`);
    if (this.#expanding.includes(name)) return this.#fail(start, `alias *${name} stands inside what it stands for`);
    this.#expanding.push(name);
    const result = this.#convert(node, start, depth + 1);
    this.#expanding.pop();
    return result;
  }

  #fail(offset: number, message: string): never {
    throw new DocumentError([{ place: this.#place(offset), message }]);
  }
}
