/** @file Millions of keys and numbers in a few dozen bytes each: a table by 64-bit hashes, and lists that grow. */

import { createHash } from "node:crypto";

/** Entries before the first growth, and the share of places that may be taken. */
const FIRST = 1024;
const FULLEST = 0.7;

/** The first 64 bits of a text's SHA-256, as two whole numbers; the first is never 0. */
export function hash64(text: string): readonly [number, number] {
  const digest = createHash("sha256").update(text).digest();
  return [digest.readUInt32LE(0) || 1, digest.readUInt32LE(4)];
}

/** Numbers by 64-bit hashes: 16 bytes a place, open addressing. Two keys of one hash are one key: ask what the number leads to whether it is the right one. */
export class HashNumbers {
  #high = new Uint32Array(FIRST);
  #low = new Uint32Array(FIRST);
  #values = new Float64Array(FIRST);
  #size = 0;

  /** Keys that have a number. */
  get size(): number {
    return this.#size;
  }

  /** The number of a key, undefined where it has none. */
  get([high, low]: readonly [number, number]): number | undefined {
    const at = this.#place(high, low);
    return this.#high[at] === 0 ? undefined : this.#values[at];
  }

  /** Gives a key its number. @param high not 0 */
  set([high, low]: readonly [number, number], value: number): void {
    if (this.#size + 1 > FULLEST * this.#high.length) this.#grow();
    const at = this.#place(high, low);
    if (this.#high[at] === 0) this.#size++;
    this.#high[at] = high;
    this.#low[at] = low;
    this.#values[at] = value;
  }

  /** Where a key is, or would be. */
  #place(high: number, low: number): number {
    const mask = this.#high.length - 1;
    let at = (high ^ low) & mask;
    while (this.#high[at] !== 0 && (this.#high[at] !== high || this.#low[at] !== low)) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const [high, low, values] = [this.#high, this.#low, this.#values];
    this.#high = new Uint32Array(2 * high.length);
    this.#low = new Uint32Array(2 * high.length);
    this.#values = new Float64Array(2 * high.length);
    high.forEach((one, i) => {
      if (one === 0) return;
      const at = this.#place(one, low[i]!);
      this.#high[at] = one;
      this.#low[at] = low[i]!;
      this.#values[at] = values[i]!;
    });
  }
}

/** A list of numbers that grows, 8 bytes each. */
export class NumberList {
  #values = new Float64Array(FIRST);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const values = new Float64Array(2 * this.#length);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.#length++] = value;
  }

  /** @returns NaN beyond the end */
  at(index: number): number {
    return index < this.#length ? this.#values[index]! : Number.NaN;
  }

  set(index: number, value: number): void {
    if (index < this.#length) this.#values[index] = value;
  }
}
