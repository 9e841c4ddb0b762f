/** @file JSON for untrusted files: objects become Maps, and duplicate keys, lone surrogates and deep nesting are refused. */

/** A parsed JSON value; objects are Maps, so that no key (`__proto__`, `constructor`) is special. */
export type JsonValue = null | boolean | number | string | JsonValue[] | Map<string, JsonValue>;

const MAX_DEPTH = 64;
/** One piece of a string at a time: a repeated choice between pieces would overflow the stack of the regular expression. */
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;

/**
 * Parses a whole JSON document. Whole numbers beyond 2^53 are refused rather than rounded.
 * @throws SyntaxError with the position of the fault.
 */
export function parseStrictJson(text: string): JsonValue {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

class Parser {
  private position = 0;
  constructor(private readonly text: string) {}

  value(depth: number): JsonValue {
    if (depth > MAX_DEPTH) throw this.fault(`nesting of at most ${MAX_DEPTH}`);
    this.match(SPACE);
    switch (this.text.charAt(this.position)) {
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  end(): void {
    this.match(SPACE);
    if (this.position !== this.text.length) throw this.fault("the end of the document");
  }

  private object(depth: number): Map<string, JsonValue> {
    const result = new Map<string, JsonValue>();
    this.position++;
    if (this.take("}")) return result;
    do {
      this.match(SPACE);
      const key = this.string();
      if (result.has(key)) throw this.fault(`each key once (${JSON.stringify(key.slice(0, 80))} is repeated)`);
      if (!this.take(":")) throw this.fault("':'");
      result.set(key, this.value(depth + 1));
    } while (this.take(","));
    if (!this.take("}")) throw this.fault("',' or '}'");
    return result;
  }

  private array(depth: number): JsonValue[] {
    const result: JsonValue[] = [];
    this.position++;
    if (this.take("]")) return result;
    do result.push(this.value(depth + 1));
    while (this.take(","));
    if (!this.take("]")) throw this.fault("',' or ']'");
    return result;
  }

  private string(): string {
    const start = this.position;
    const unfinished = (): SyntaxError => {
      this.position = start;
      return this.fault("a string");
    };
    if (this.text[this.position] !== '"') throw unfinished();
    this.position++;
    do this.match(PLAIN);
    while (this.match(ESCAPE) !== undefined);
    if (this.text[this.position] !== '"') throw unfinished();
    const literal = this.text.slice(start, ++this.position);
    const value = literal.includes("\\") ? (JSON.parse(literal) as string) : literal.slice(1, -1);
    if (/\p{Surrogate}/u.test(value)) throw this.fault("well-formed Unicode");
    return value;
  }

  private number(): number {
    const literal = this.match(NUMBER);
    if (literal === undefined) throw this.fault("a value");
    const value = Number(literal);
    if (!Number.isFinite(value) || (/^-?\d+$/.test(literal) && !Number.isSafeInteger(value))) {
      throw this.fault("a number that can be held exactly");
    }
    return value;
  }

  private word<T extends JsonValue>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.position)) throw this.fault("a value");
    this.position += word.length;
    return value;
  }

  private take(character: string): boolean {
    this.match(SPACE);
    if (this.text[this.position] !== character) return false;
    this.position++;
    return true;
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.text)?.[0];
    if (found !== undefined) this.position += found.length;
    return found;
  }

  private fault(expected: string): SyntaxError {
    const found = this.text.slice(this.position, this.position + 16);
    return new SyntaxError(
      `at character ${this.position}: expected ${expected}, got ${found === "" ? "the end" : JSON.stringify(found)}`,
    );
  }
}
