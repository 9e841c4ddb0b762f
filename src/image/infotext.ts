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
