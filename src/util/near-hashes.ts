/** @file Finding among millions of 64-bit hashes one that differs in few bits, without looking at all. */

/** Parts of a hash, and bits of a part. */
const PARTS = 4;
const BITS = 16;

/** Hashes looked for differ in at most so many bits: with more, each of the four parts may differ in two. */
export const LARGEST_DISTANCE = 7;

/**
 * Hashes of pictures with a number each, about 28 bytes a hash. Of two hashes that differ in at most 7 bits, one of the four 16-bit parts differs in at most one: all that share a part, but
 * for one bit, are looked at, so that none is missed.
 */
export class NearHashes {
  readonly #heads = Array.from({ length: PARTS }, () => new Uint32Array(1 << BITS));
  #next = Array.from({ length: PARTS }, () => new Uint32Array(1024));
  #high = new Uint32Array(1024);
  #low = new Uint32Array(1024);
  #values = new Uint32Array(1024);
  #size = 0;

  /**
   * The number of the nearest hash, of equally near ones the earliest, and how many bits differ.
   * @param distance bits that may differ, 0 to {@link LARGEST_DISTANCE}
   */
  nearest([high, low]: readonly [number, number], distance: number): { value: number; distance: number } | undefined {
    let best = { at: 0, distance: distance + 1 };
    const look = (part: number, key: number): void => {
      for (let at = this.#heads[part]![key]!; at !== 0; at = this.#next[part]![at]!) {
        const bits = countOnes(this.#high[at]! ^ high) + countOnes(this.#low[at]! ^ low);
        if (bits < best.distance || (bits === best.distance && bits <= distance && at < best.at))
          best = { at, distance: bits };
      }
    };
    for (let part = 0; part < PARTS; part++) {
      const key = partOf(part, high, low);
      look(part, key);
      // up to 3 bits leave one part of four untouched
      if (distance >= PARTS) for (let bit = 0; bit < BITS; bit++) look(part, key ^ (1 << bit));
    }
    return best.at === 0 ? undefined : { value: this.#values[best.at]!, distance: best.distance };
  }

  /** Adds a hash. @param value a whole number from 0 to 2^32 - 1 */
  add([high, low]: readonly [number, number], value: number): void {
    const at = ++this.#size;
    if (at === this.#high.length) this.#grow();
    this.#high[at] = high;
    this.#low[at] = low;
    this.#values[at] = value;
    for (let part = 0; part < PARTS; part++) {
      const key = partOf(part, high, low);
      this.#next[part]![at] = this.#heads[part]![key]!;
      this.#heads[part]![key] = at;
    }
  }

  #grow(): void {
    const longer = (from: Uint32Array): Uint32Array<ArrayBuffer> => {
      const to = new Uint32Array(2 * from.length);
      to.set(from);
      return to;
    };
    this.#next = this.#next.map(longer);
    this.#high = longer(this.#high);
    this.#low = longer(this.#low);
    this.#values = longer(this.#values);
  }
}

function partOf(part: number, high: number, low: number): number {
  const half = part < 2 ? high : low;
  return part % 2 === 0 ? half >>> BITS : half & 0xffff;
}

/** Ones among 32 bits. */
export function countOnes(value: number): number {
  let v = value - ((value >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return (((v + (v >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24;
}
