/** @file From a text's ids to a network's input: special tokens kept whole, start and end set, cut, padded. */

import { type ModelError, UsageError } from "../errors.js";
import { IDEOGRAPHS } from "./basic-text.js";
import type { Encoding } from "./types.js";

/** A special token's id, or text between special tokens. */
export type Piece = string | { readonly id: number };

/** Cuts text at special tokens: the leftmost first, of those that start together the longest. */
export function specialTokenSplitter(tokens: ReadonlyMap<string, number>): (text: string) => Piece[] {
  const names = [...tokens.keys()].filter((token) => token !== "").sort((a, b) => b.length - a.length);
  if (names.length === 0) return (text) => [text];
  const pattern = new RegExp(`(${names.map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")})`, "u");
  return (text) =>
    text.split(pattern).flatMap((part, i): Piece[] => {
      if (part === "") return [];
      return [i % 2 === 1 ? { id: tokens.get(part) as number } : part];
    });
}

/** The ids around a text, and the length of the whole. */
export interface Frame {
  readonly start: number;
  readonly end: number;
  readonly pad: number;
  readonly maxLength: number;
}

/** Checks a frame's length, which the caller gave (a UsageError) or a file (a ModelError). @throws `as` unless start, end and at least one token fit. */
export function checkFrame(frame: Frame, where: string, as: typeof UsageError | typeof ModelError = UsageError): Frame {
  if (Number.isSafeInteger(frame.maxLength) && frame.maxLength >= 3) return frame;
  throw new as(`${where}: expected a maximal length of 3 tokens or more, got ${frame.maxLength}`);
}

/** Sets the text's ids between start and end, cuts what does not fit, pads on the right. */
export function encodeFramed(text: string, tokenize: (text: string) => number[], frame: Frame): Encoding {
  const { start, end, pad, maxLength } = frame;
  const tokens = tokenize(text);
  const room = maxLength - 2;
  const ids = [start, ...tokens.slice(0, room), end];
  const used = ids.length;
  while (ids.length < maxLength) ids.push(pad);
  const encoding = { ids, mask: ids.map((_, i) => (i < used ? 1 : 0)), eosIndex: ids.indexOf(end) };
  return tokens.length <= room ? encoding : { ...encoding, truncated: cutText(text, tokenize, room) };
}

/** White space, one ideograph, letters and digits with their marks, or anything else: tokens hardly ever reach over these. */
const SEGMENTS = new RegExp(`\\s+|[${IDEOGRAPHS}]|[\\p{L}\\p{N}\\p{M}]+|[^\\s\\p{L}\\p{N}\\p{M}]+`, "gu");

/** The text from its first segment that is not fully among the first `room` tokens. */
function cutText(text: string, tokenize: (text: string) => number[], room: number): string {
  const segments = Array.from(text.matchAll(SEGMENTS), (match) => ({
    start: match.index,
    end: match.index + match[0].length,
  }));
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (tokenize(text.slice(0, segments[middle]?.end)).length <= room) low = middle + 1;
    else high = middle;
  }
  return text.slice(segments[low]?.start ?? 0).trim();
}
