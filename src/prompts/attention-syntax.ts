/**
 * @file The prompt syntax of AUTOMATIC1111's web UI: round brackets raise attention, square ones lower it, `BREAK` ends a chunk.
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis
 * Reference: modules/prompt_parser.py `parse_prompt_attention` and modules/extra_networks.py, v1.10.1
 */

import { UsageError } from "../errors.js";

/** How a prompt is read: as it stands, cut at the text encoder's window, or as AUTOMATIC1111's web UI reads it. */
export const PROMPT_SYNTAXES = ["plain", "a1111"] as const;

/** A way to read prompts. */
export type PromptSyntax = (typeof PROMPT_SYNTAXES)[number];

/** A stretch of text under one weight, or the end of a chunk. */
export type Fragment =
  { readonly kind: "text"; readonly text: string; readonly weight: number } | { readonly kind: "break" };

/** Factor of one pair of round brackets; a pair of square ones divides by it. */
const FACTOR = 1.1;
/** Weights beyond it, of either sign, only come from mistakes and leave nothing of a picture. */
const MAX_WEIGHT = 1000;

/** An escape, a bracket, a weight that closes a bracket, a run of other characters, a colon. A lone backslash stands for nothing. */
const PIECES = /\\[()[\]\\]?|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()[\]:]+|:/gu;
/** Space is tried from where it begins alone: else much of it takes time by its square. */
const BREAK = /(?:(?<!\s)\s+)?(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])\s*/u;
/** `<lora:name:1>` and its like; the web UI takes them out before it reads the rest. */
export const EXTRA_NETWORK = /<[\p{L}\p{N}_]+:[^>]+>/gu;

interface Draft {
  text: string;
  weight: number;
  readonly isBreak: boolean;
}

/**
 * The fragments of `prompt`: `(a)` weighs 1.1, `(a:1.3)` weighs 1.3, `[a]` weighs 1/1.1, nested brackets multiply, `\(` is a bracket of the
 * text, a bracket that is never closed reaches to the end, one that was never opened is text. Neighbours of equal weight are one fragment;
 * fragments without text are left out. Other than in the web UI, whose version 1.10.1 reads it as a word there, `BREAK` works inside brackets too.
 * @throws UsageError for a weight that is no number or beyond 1000
 */
export function parseAttention(prompt: string): Fragment[] {
  const drafts: Draft[] = [];
  const round: number[] = [];
  const square: number[] = [];
  const multiply = (start: number, factor: number): void => {
    for (let i = start; i < drafts.length; i++) drafts[i]!.weight *= factor;
  };
  for (const [piece, weight] of prompt.replace(EXTRA_NETWORK, "").matchAll(PIECES)) {
    if (piece.startsWith("\\")) drafts.push({ text: piece.slice(1), weight: 1, isBreak: false });
    else if (piece === "(") round.push(drafts.length);
    else if (piece === "[") square.push(drafts.length);
    else if (weight !== undefined && round.length > 0) multiply(round.pop()!, parseWeight(weight));
    else if (piece === ")" && round.length > 0) multiply(round.pop()!, FACTOR);
    else if (piece === "]" && square.length > 0) multiply(square.pop()!, 1 / FACTOR);
    else {
      for (const [i, text] of piece.split(BREAK).entries()) {
        if (i > 0) drafts.push({ text: "", weight: 1, isBreak: true });
        drafts.push({ text, weight: 1, isBreak: false });
      }
    }
  }
  for (const start of round) multiply(start, FACTOR);
  for (const start of square) multiply(start, 1 / FACTOR);
  return finish(drafts);
}

function parseWeight(text: string): number {
  const weight = Number(text);
  if (!Number.isNaN(weight)) return weight;
  throw new UsageError(
    `prompt: expected a number as weight, got ${JSON.stringify(text)}; write \\( for a bracket of the text`,
  );
}

function finish(drafts: readonly Draft[]): Fragment[] {
  const merged: Draft[] = [];
  for (const draft of drafts) {
    const last = merged.at(-1);
    if (last !== undefined && !last.isBreak && !draft.isBreak && last.weight === draft.weight) last.text += draft.text;
    else merged.push({ ...draft });
  }
  return merged.flatMap(({ text, weight, isBreak }): Fragment[] => {
    if (isBreak) return [{ kind: "break" }];
    if (text === "") return [];
    if (Math.abs(weight) <= MAX_WEIGHT) return [{ kind: "text", text, weight }];
    throw new UsageError(
      `prompt: expected weights from -${MAX_WEIGHT} to ${MAX_WEIGHT}, got ${weight} for ${JSON.stringify(text)}`,
    );
  });
}

/**
 * What a prompt says, without the syntax: the text of its fragments, breaks as spaces. A reward reads this. Trigger words of embeddings stay.
 * @throws UsageError as `parseAttention`
 */
export function promptMeaning(prompt: string, syntax: PromptSyntax): string {
  if (syntax === "plain") return prompt;
  return parseAttention(prompt)
    .map((fragment) => (fragment.kind === "break" ? " " : fragment.text))
    .join("")
    .replace(/\s+/gu, " ")
    .trim();
}

/** Constructs of the web UI that Laurel does not follow, what each looks like, and what becomes of it. */
const NOT_FOLLOWED: readonly (readonly [name: string, pattern: RegExp, fate: string])[] = [
  ["an extra network", EXTRA_NETWORK, "left out of the prompt, and nothing is loaded"],
  ["prompt editing [a:b:when]", /\[[^[\]]*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\]/gu, "read as text in square brackets"],
  ["alternation [a|b]", /\[[^[\]]*\|[^[\]]*\]/gu, "read as text in square brackets"],
  ["composition with AND", /(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/gu, "read as a word"],
];

/** A warning for each construct of the web UI in `prompt` that is not followed. `what` names the prompt. */
export function syntaxWarnings(what: string, prompt: string): string[] {
  const text = prompt.replace(/\\./gsu, "");
  return NOT_FOLLOWED.flatMap(([name, pattern, fate]) => {
    const found = text.match(pattern);
    return found === null ? [] : [`${what}: ${name} is not supported and is ${fate}, got ${JSON.stringify(found[0])}`];
  });
}
