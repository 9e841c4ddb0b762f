/** @file Seeded randomness, and mutations of bytes, texts and JSON documents. */

import { crc32 } from "node:zlib";

/** A reproducible stream of numbers (xorshift32). */
export class Dice {
  #state: number;
  constructor(seed: number) {
    this.#state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  }
  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % Math.max(1, limit);
  }
  /** One of `values`. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

/** Makes a new input from one of the corpus; `other` is a second one to splice from. */
export type Mutate = (input: Buffer, dice: Dice, other: Buffer) => Buffer;

const BYTES = [0, 1, 0x2e, 0x7f, 0x80, 0xfe, 0xff];
const WORDS = [0, 1, -1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, -0x80000000, 100_000];

/** One to four changes anywhere: bytes, 32-bit numbers of either order, pieces cut, copied, moved in from `other`. */
export const mutateBytes: Mutate = (input, dice, other) => {
  let bytes: Buffer = Buffer.from(input);
  for (let count = 1 + dice.below(4); count > 0; count--) bytes = changed(bytes, dice, other);
  return bytes;
};

function changed(bytes: Buffer, dice: Dice, other: Buffer): Buffer {
  const at = dice.below(bytes.length);
  const length = 1 + dice.below(Math.min(32, bytes.length - at));
  const put = (piece: Uint8Array, remove = 0) =>
    Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + remove)]);
  switch (dice.below(9)) {
    case 0:
      return put(Buffer.of((bytes[at] ?? 0) ^ (1 << dice.below(8))), 1);
    case 1:
      return put(Buffer.of(dice.pick(BYTES)), 1);
    case 2:
      return put(Buffer.of(dice.below(256)), dice.below(2));
    case 3: {
      const word = Buffer.alloc(4);
      if (dice.below(2) === 0) word.writeInt32LE(dice.pick(WORDS));
      else word.writeInt32BE(dice.pick(WORDS));
      return put(word, 4);
    }
    case 4:
      return put(Buffer.alloc(0), length);
    case 5:
      return put(bytes.subarray(at, at + length));
    case 6:
      return bytes.subarray(0, at);
    case 7: {
      const from = dice.below(other.length);
      return put(other.subarray(from, from + length), dice.below(2) * length);
    }
    default:
      return put(Buffer.alloc(dice.below(2000), dice.pick(BYTES)), dice.below(2) * length);
  }
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const nested = (depth: number): Json => (depth === 0 ? 1 : [nested(depth - 1)]);
const VALUES: readonly Json[] = [
  ...[null, true, false, 0, 1, -1, 2, 0.5, -0.5, 7, 64, 1e6, 1e9, 1e15, 2 ** 53, 1e300, -1e300, Number.MIN_VALUE],
  ...["", "x", "1", "constructor", "__proto__", "\u0000", "\n", "\u001b[31m", "\ud800", "../x", "a".repeat(3000)],
  ...([[], {}, [[]], [0, 0], [-1], [1e9, 1e9], { a: 1 }] as Json[]),
  ...[nested(70), nested(2000), Array.from({ length: 300 }, () => 1)],
];
const KEYS = ["__proto__", "constructor", "toString", "", "a\nb", "x".repeat(1000), "hasOwnProperty"];

/** Changes values, keys and lists of a JSON document; of something else, and now and then anyway, its bytes. */
export const mutateJson: Mutate = (input, dice, other) => {
  if (dice.below(6) === 0) return mutateBytes(input, dice, other);
  try {
    let root = JSON.parse(input.toString("utf8")) as Json;
    for (let count = 1 + dice.below(3); count > 0; count--) root = changedJson(root, dice);
    return Buffer.from(JSON.stringify(root));
  } catch {
    // It is no JSON, or is nested too deep to be copied.
    return mutateBytes(input, dice, other);
  }
};

function changedJson(root: Json, dice: Dice): Json {
  // A walk down to a random place, then a change there.
  const parents: { holder: Json[] | { [key: string]: Json }; key: string | number }[] = [];
  let value = root;
  while (typeof value === "object" && value !== null && (parents.length === 0 || dice.below(3) > 0)) {
    const keys = Object.keys(value);
    if (keys.length === 0) break;
    const key = dice.pick(keys);
    parents.push({ holder: value as { [key: string]: Json }, key });
    value = (value as { [key: string]: Json })[key]!;
  }
  const last = parents.at(-1);
  if (last === undefined) return structuredClone(dice.pick(VALUES));
  const holder = last.holder as { [key: string]: Json };
  const define = (key: string, to: Json) =>
    Object.defineProperty(holder, key, { value: to, enumerable: true, configurable: true, writable: true });
  switch (dice.below(5)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(last.key), 1);
      else Reflect.deleteProperty(holder, last.key);
      break;
    case 1:
      if (Array.isArray(holder)) holder.push(structuredClone(value));
      else define(dice.pick(KEYS), structuredClone(dice.pick(VALUES)));
      break;
    case 2:
      if (typeof value === "number")
        define(String(last.key), value + dice.pick([-1, 1, -value, value, 0.5, -2 * value]));
      else define(String(last.key), structuredClone(dice.pick(VALUES)));
      break;
    default:
      define(String(last.key), structuredClone(dice.pick(VALUES)));
  }
  return root;
}

/** Lines doubled, dropped, swapped and changed. */
export const mutateLines: Mutate = (input, dice, other) => {
  if (dice.below(2) === 0) return mutateBytes(input, dice, other);
  const lines = input.toString("utf8").split("\n");
  const at = dice.below(lines.length);
  const line = Buffer.from(lines[at] ?? "");
  switch (dice.below(4)) {
    case 0:
      lines.splice(at, 1);
      break;
    case 1:
      lines.splice(dice.below(lines.length), 0, lines[at] ?? "");
      break;
    case 2:
      lines[at] = mutateJson(line, dice, line).toString("utf8");
      break;
    default:
      lines[at] = dice.pick([
        "",
        "  ",
        "\u0000",
        "*a",
        "&a [*a]",
        "<<: *a",
        "? [",
        "- - -",
        "!!binary x",
        "%YAML 9.9",
        "---",
        "a: b: c",
        "\t",
      ]);
  }
  return Buffer.from(lines.join("\n"));
};

/** Mutates bytes, then sets the checksums of all chunks right, so that damage reaches what is behind them. */
export const mutatePng: Mutate = (input, dice, other) => {
  const changed = mutateBytes(input, dice, other);
  if (dice.below(4) === 0) return changed;
  for (let at = 8; at + 12 <= changed.length;) {
    const end = at + 8 + changed.readUInt32BE(at);
    if (end + 4 > changed.length) break;
    changed.writeUInt32BE(crc32(changed.subarray(at + 4, end)), end);
    at = end + 4;
  }
  return changed;
};
