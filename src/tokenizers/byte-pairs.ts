/** @file Byte-pair encoding as GPT-2 and CLIP write it: bytes as printable characters, merges by rank, `</w>` at a word's end. */

/** Marks the last symbol of a word. */
export const WORD_END = "</w>";

/** Words longer than this in bytes are not remembered: the cache is for the words of ordinary prompts. */
const CACHED_WORD_BYTES = 64;
const CACHE_SIZE = 10_000;

/** The printable character that stands for each byte: itself if it is one, else one from U+0100 on. */
export const BYTE_SYMBOLS: readonly string[] = (() => {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(isPrintable ? byte : next++);
  });
})();

/** The rank of each merge by its two symbols, written `left right`. */
export type MergeRanks = ReadonlyMap<string, number>;

/** A function from a word to its symbols, the lowest-ranked pair merged first, every occurrence from the left. */
export function bytePairEncoder(ranks: MergeRanks): (word: string) => readonly string[] {
  const cache = new Map<string, readonly string[]>();
  return (word) => {
    const known = cache.get(word);
    if (known !== undefined) return known;
    const bytes = new TextEncoder().encode(word);
    const symbols = Array.from(bytes, (byte) => BYTE_SYMBOLS[byte] as string);
    symbols[symbols.length - 1] += WORD_END;
    const merged = mergePairs(symbols, ranks);
    if (bytes.length <= CACHED_WORD_BYTES) {
      if (cache.size >= CACHE_SIZE) cache.clear();
      cache.set(word, merged);
    }
    return merged;
  };
}

function mergePairs(symbols: readonly string[], ranks: MergeRanks): readonly string[] {
  let current = symbols;
  for (;;) {
    let best = Infinity;
    for (let i = 0; i + 1 < current.length; i++) best = Math.min(best, rankAt(current, i, ranks));
    if (best === Infinity) return current;
    const next: string[] = [];
    for (let i = 0; i < current.length; i++) {
      if (rankAt(current, i, ranks) === best) next.push((current[i] as string) + (current[++i] as string));
      else next.push(current[i] as string);
    }
    current = next;
  }
}

function rankAt(symbols: readonly string[], i: number, ranks: MergeRanks): number {
  return i + 1 < symbols.length ? (ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity) : Infinity;
}
