/** @file Reads the generation parameters that AUTOMATIC1111 and its kin put into pictures. */

/** What an infotext says. */
export interface Infotext {
  readonly prompt: string;
  /** undefined where there is no such line. */
  readonly negativePrompt: string | undefined;
  /** The pairs of the last line: `Steps`, `Seed`, `Size`, ... */
  readonly pairs: ReadonlyMap<string, string>;
}

const PAIR = /\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g;
/** A last line with fewer pairs is part of the prompt. */
const FEWEST_PAIRS = 3;
const NEGATIVE = "Negative prompt:";

/**
 * Parses an infotext: prompt, the lines from `Negative prompt:` on, and a last line of pairs.
 * Source of the grammar: `parse_generation_parameters`, AUTOMATIC1111 stable-diffusion-webui v1.10.1, modules/infotext_utils.py.
 */
export function parseInfotext(text: string): Infotext {
  const lines = text.trim().split("\n");
  const last = [...(lines.at(-1) ?? "").matchAll(PAIR)];
  const hasPairs = last.length >= FEWEST_PAIRS;
  const words = hasPairs ? lines.slice(0, -1) : lines;
  const at = words.findIndex((line) => line.trim().startsWith(NEGATIVE));
  const positive = at < 0 ? words : words.slice(0, at);
  const negative = at < 0 ? undefined : [words[at]!.trim().slice(NEGATIVE.length), ...words.slice(at + 1)];
  return {
    prompt: joined(positive),
    negativePrompt: negative === undefined ? undefined : joined(negative),
    pairs: new Map(hasPairs ? last.map(([, key = "", value = ""]) => [key, unquoted(value)] as const) : []),
  };
}

/**
 * The infotext with these pairs in its last line: a key that is there gets the new value, others are put behind. Everything else stays as it is. A text without a line of pairs
 * gets one, which readers recognise by at least three pairs: give as many.
 * @param pairs keys of at least two letters, digits, spaces, `-` and `/`; values as they are meant, they are quoted here where the grammar asks for it
 */
export function withInfotextPairs(text: string, pairs: readonly (readonly [key: string, value: string])[]): string {
  const lines = text.trimEnd().split("\n");
  const last = lines.at(-1) ?? "";
  const matches = [...last.matchAll(PAIR)];
  if (matches.length < FEWEST_PAIRS) {
    const line = pairs.map(([key, value]) => `${key}: ${quoteInfotext(value)}`).join(", ");
    return [...(text.trim() === "" ? [] : lines), line].join("\n");
  }
  const line = pairs.reduce((line, [key, value]) => withPair(line, key, quoteInfotext(value)), last);
  return [...lines.slice(0, -1), line].join("\n");
}

function withPair(line: string, key: string, value: string): string {
  const own = [...line.matchAll(PAIR)].filter((match) => match[1] === key);
  if (own.length === 0) return `${line.replace(/[,\s]+$/, "")}, ${key}: ${value}`;
  return own.reduceRight((changed, match) => {
    const [whole, , old = ""] = match;
    const end = match.index + whole.length - (whole.endsWith(",") && !old.endsWith(",") ? 1 : 0);
    return `${changed.slice(0, end - old.length)}${value}${changed.slice(end)}`;
  }, line);
}

/** A value of a pair: one with a comma, a colon or a line break is written as a JSON string. */
export function quoteInfotext(value: string): string {
  return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}

function joined(lines: readonly string[]): string {
  return lines
    .map((line) => line.trim())
    .join("\n")
    .trim();
}

function unquoted(value: string): string {
  if (!value.startsWith('"') || !value.endsWith('"')) return value.trim();
  try {
    return String(JSON.parse(value));
  } catch {
    return value;
  }
}
